"""One run: load, changes and faults side by side, then waiting until everything is right again."""

import asyncio
import datetime
import os
import random
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc

from entitlements.upstream.transport import KEPT_SECONDS
from tests.chaos.beside import Beside, beside
from tests.chaos.client import LINES_EACH, METHODS, Line, WeatherClient
from tests.chaos.faults import absent
from tests.chaos.forecast import Gust, forecast
from tests.chaos.left_open import left_open
from tests.chaos.machine import Machine
from tests.chaos.records import Happened, Run, now
from tests.chaos.waiting import Look

CUSTOMERS = 20
UNSEEN = 5
"""How many of them are asked for the first time while things break."""
BUSY = 4
"""How many of them take part in more than half of all that happens."""
METERED = 4
MOST_READS_AT_A_TIME = 600
CHANGE_SECONDS = 0.12
"""Between two changes in the cloud."""
WRITE_SECONDS = 0.15
"""Between two writes."""
SAMPLE_SECONDS = 0.5
HEAL_SECONDS = 45.0
"""Everything is right again after this: the pause after a refused key (10 s) and the longest back-off."""
LOOK_SECONDS = 0.1
"""Between two looks, or as long as one took: who looks must not be what is waited for."""
LONGEST_WAIT_SECONDS = 60.0
"""What is waited for a processor does not count as healing; nobody waits for ever, though."""
FEED_STABLE_SECONDS = 10.0
"""A feed that is lost again before that is tried again ever more slowly: it would touch the next run."""
SETTLE_SECONDS = 2 * KEPT_SECONDS
"""What is left open for a moment is closed after this; an idle connection to the cloud is kept no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How hard and how long."""

    seconds: float = 8.0
    reads_per_second: float = 80.0


class TooBusy(Exception):
    """The computer had no time for a run: nothing can be said of it."""

    def __init__(self, took_seconds: float, waited_seconds: float, unhealed: str) -> None:
        super().__init__(took_seconds, waited_seconds, unhealed)

    def __str__(self) -> str:
        took_seconds, waited_seconds, unhealed = self.args
        return (
            f"of {took_seconds:.0f} s of healing {waited_seconds:.0f} were waited for a processor; {unhealed}"
        )


class Weather:
    """One run on a machine that is in order."""

    def __init__(self, machine: Machine, seed: int, load: Load, client: Beside | None = None) -> None:
        self._client = client
        self._machine = machine
        self._load = load
        self._dice = random.Random(seed)
        self._reads: set[asyncio.Task[object]] = set()
        self._changes: set[asyncio.Task[object]] = set()
        without = {*machine.cannot, *absent(machine.world.offers)}
        self._script = forecast(seed, seconds=load.seconds, without=without)
        self.run = Run(seed=seed, began=now(), edge_per_minute=machine.edge_per_minute)
        self._customers = [f"w{seed}-{number}" for number in range(CUSTOMERS)]
        self._metered = [f"m{seed}-{number}" for number in range(METERED)]

    async def blow(self) -> Run:
        """Run it; what happened is for the judge."""
        async with AsyncExitStack() as stack:
            await self._introduce()
            lines = [
                await stack.enter_async_context(Line(instance, number))
                for instance in self._machine.instances.values()
                for number in range(LINES_EACH)
            ]
            client = WeatherClient(self.run, lines)
            await self._warm(client)
            self.run.resources.append(self._machine.measure())
            tasks = await self._machine.tasks()
            async with beside(self._machine, self.run, self._client):
                self.run.began = now()
                async with _beside(self._sample_for_ever()):
                    async with _beside(self._read_for_ever(client)):
                        await self._storm(client)
                        await self._heal(client)
                    await asyncio.gather(*self._reads, return_exceptions=True)
            await self._settle(tasks)
            for instance in self._machine.instances.values():
                self.run.deaths += instance.take_deaths()
            self.run.asked = await self._machine.cloud.asked()
            self.run.counted = await self._machine.cloud.counted(self.run)
            self.run.load = os.getloadavg()[0] / (os.cpu_count() or 1)
        self.run.ended = now()
        return self.run

    async def _storm(self, client: WeatherClient) -> None:
        """All that the script says, while customers change and writes go on."""
        lanes = [lane.go_on(self.run) for lane in self._machine.lanes]
        async with _beside(self._change_for_ever(), self._write_for_ever(client), *lanes):
            await asyncio.gather(*(self._strike(gust) for gust in self._script))
            await self._until(self._load.seconds)
        await asyncio.gather(*self._changes)

    async def _introduce(self) -> None:
        """The cloud gets to know this run's customers, and forgets those of the last."""
        await self._machine.cloud.ask("POST", "reset")
        for number in range(CUSTOMERS):
            await self._change(number)
        for customer_id in self._metered:
            await self._machine.cloud.put_meter(
                customer_id, updated_at=_iso(datetime.datetime.now(datetime.UTC))
            )

    async def _warm(self, client: WeatherClient) -> None:
        for line in client.lines:
            known = self._customers[:-UNSEEN]
            self.run.answers += await asyncio.gather(*(client.ask(line, who, "numeric") for who in known))
            await asyncio.gather(*(client.usage_of(line, who) for who in self._metered))

    async def _until(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, self.run.began + seconds - now()))

    async def _strike(self, gust: Gust) -> None:
        await self._until(gust.at)
        happened = Happened(
            fault=gust.fault.name,
            family=gust.fault.family,
            targets=gust.targets,
            began=now(),
            aftermath_seconds=gust.fault.aftermath_seconds,
            breaks_feed=gust.fault.breaks_feed,
        )
        self.run.happened.append(happened)
        async with gust.fault.act(self._machine, self.run, gust.targets):
            await asyncio.sleep(gust.seconds)
        happened.ended = now()

    def _anybody(self) -> int:
        """A customer, more often a busy one: what happens within milliseconds happens to those."""
        return self._dice.randrange(self._dice.choice((BUSY, CUSTOMERS)))

    async def _change(self, number: int) -> None:
        customer_id = self._customers[number]
        version = len(self.run.truth.versions(customer_id))
        shown = (number + 1) * 10_000 + version
        moment = datetime.datetime.now(datetime.UTC)
        at_ms = int(moment.timestamp() * 1000)
        sent = self.run.truth.add(customer_id, shown, at=now(), updated_at_ms=at_ms)
        await self._machine.cloud.put_version(customer_id, shown, updated_at=_iso(moment))
        sent.announced_at = now()

    async def _change_for_ever(self) -> None:
        while True:
            # Shielded: a change that was sent is waited for, or nobody knows whether the cloud has it.
            await asyncio.shield(self._keep(self._change(self._anybody()), self._changes))
            await asyncio.sleep(CHANGE_SECONDS)

    async def _read_for_ever(self, client: WeatherClient) -> None:
        """At an even pace, however long the answers take."""
        due = now()
        while True:
            if len(self._reads) < MOST_READS_AT_A_TIME:
                read = client.read(self._customers[self._anybody()], self._dice.choice(METHODS))
                self._keep(read, self._reads)
            due += 1 / self._load.reads_per_second
            await asyncio.sleep(max(0.0, due - now()))

    async def _write_for_ever(self, client: WeatherClient) -> None:
        number = 0
        while True:
            number += 1
            who = self._dice.choice(self._metered)
            if number % 2:
                self._keep(client.report_event(who, f"{self.run.seed}-{number}"), self._reads)
            else:
                self._keep(client.report_usage(who, 1 + number / 65_536), self._reads)
            await asyncio.sleep(WRITE_SECONDS)

    async def _sample_for_ever(self) -> None:
        look = Look()
        while True:
            due = now() + SAMPLE_SECONDS
            await asyncio.sleep(SAMPLE_SECONDS)
            self.run.starved_seconds = max(self.run.starved_seconds, now() - due)
            self.run.resources.append(self._machine.measure())
            if (wait := look.again(self._machine.pids(), at=now())) is not None:
                self.run.waits.spans.append(wait)

    def _keep(
        self, work: Coroutine[None, None, object], where: set[asyncio.Task[object]]
    ) -> asyncio.Task[object]:
        task = asyncio.create_task(work)
        where.add(task)
        task.add_done_callback(where.discard)
        return task

    async def _heal(self, client: WeatherClient) -> None:
        """Waits until all lines show the truth, all writes have arrived, all workers learn of changes."""
        healing_since = max((fault.ended for fault in self.run.happened), default=now())
        slowest = max((fault.aftermath_seconds for fault in self.run.happened), default=0.0)
        began = now()
        while True:
            looked_at = now()
            self.run.unhealed = await self._what_is_wrong(client)
            if not self.run.unhealed:
                self.run.heal_seconds = now() - healing_since
                return
            took_seconds = now() - began
            waited_seconds = self.run.waits.within(began, now())
            if took_seconds > HEAL_SECONDS + slowest + min(waited_seconds, LONGEST_WAIT_SECONDS):
                if waited_seconds > LONGEST_WAIT_SECONDS:
                    raise TooBusy(took_seconds, waited_seconds, self.run.unhealed)
                return
            await asyncio.sleep(max(LOOK_SECONDS, now() - looked_at))

    async def _what_is_wrong(self, client: WeatherClient) -> str:
        try:
            return (
                await self._wrong_answers(client)
                or await self._missing_writes()
                or await self._wrong_meters(client)
                or await self._deaf_workers()
            )
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"

    async def _wrong_answers(self, client: WeatherClient) -> str:
        for line in client.lines:
            answers = await asyncio.gather(*(client.ask(line, who, "numeric") for who in self._customers))
            for answer in answers:
                current = self.run.truth.current(answer.customer_id)
                if answer.is_fallback or answer.number != current or answer.state == "stale":
                    return f"{answer} instead of {current}"
        return ""

    async def _missing_writes(self) -> str:
        self.run.counted = await self._machine.cloud.counted(self.run)
        missing = [
            identity
            for identity, write in self.run.writes.items()
            if write.status in {"OK", ""} and not write.is_given_up and identity not in self.run.counted
        ]
        return f"{len(missing)} writes have not arrived: {missing[:3]}" if missing else ""

    async def _wrong_meters(self, client: WeatherClient) -> str:
        for who in self._metered:
            in_cloud = await self._machine.cloud.usage_of(who)
            for line in client.lines:
                answered = await client.usage_of(line, who)
                self.run.usage[who] = (answered, in_cloud)
                if abs(answered - in_cloud) > 1e-6:
                    return f"{line.name} says {who} used {answered} instead of {in_cloud}"
        return ""

    async def _deaf_workers(self) -> str:
        for instance in self._machine.instances.values():
            for said in await instance.parts():
                if not said["parts"]["feed"]["following"]:
                    return f"worker {said['pid']} of {instance.name} does not follow the feed"
        return ""

    async def _settle(self, tasks_before: float) -> None:
        """What was open for the moment closes; the aftermath of the faults is not the next run's."""
        await asyncio.sleep(FEED_STABLE_SECONDS)
        first, deadline = self.run.resources[0], now() + SETTLE_SECONDS
        while True:
            last, tasks = self._machine.measure(), await self._machine.tasks()
            if (not left_open(first, last) and tasks <= tasks_before) or now() > deadline:
                break
            await asyncio.sleep(0.25)
        self.run.resources.append(last)
        self.run.tasks = (tasks_before, tasks)


@asynccontextmanager
async def _beside(*work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Runs work for ever beside the body; what fails there fails here."""
    tasks: Sequence[asyncio.Task[None]] = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        failed = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in failed:
            task.result()


def _iso(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
