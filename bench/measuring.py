"""Each scenario beside the bare servers: in turn, several times: the machine's moods hit all alike."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import checking, load
from bench.customers import feed_customer
from bench.load import Load
from bench.scenarios import FEED_CUSTOMERS, Scenario
from bench.servers import BARE, Server, Usage, bare, running
from emulator.server import Emulator

WARM_UP_SECONDS = 1
FEED_TICK_SECONDS = 0.02
STORM_SECONDS = 60
"""A storm of misses is ended before; it begins when the first miss is counted."""
STORM_TICK_SECONDS = 0.02
EACH_ONCE_SECONDS = 120

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One load on one server."""

    server: str
    scenario: str
    in_flight: int
    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float
    """Processor time of the server, a request."""
    rss_mb: float


@dataclass(kw_only=True)
class Bench:
    """What all measurements share."""

    emulator: Emulator
    folder: Path
    rounds: int
    seconds: int
    engine: str | None
    say: Say
    results: list[Measured] = field(default_factory=list[Measured])
    _asked_about: int = 0
    """How many new customers were used up."""

    async def measure(self, scenarios: list[Scenario]) -> None:
        """Measures them, those that share a sidecar together."""
        rest = list(scenarios)
        while rest:
            group = [scenario for scenario in rest if scenario.sidecar == rest[0].sidecar]
            rest = [scenario for scenario in rest if scenario not in group]
            folder = self.folder / f"sidecar-{len(self.results)}"
            folder.mkdir()
            async with running(group[0].sidecar, self.emulator, folder, engine=self.engine) as sidecar:
                for scenario in group:
                    await self._scenario(scenario, sidecar)

    async def _scenario(self, scenario: Scenario, sidecar: Server) -> None:
        if scenario.is_varied:
            await load.each_once(sidecar.port, seconds=EACH_ONCE_SECONDS)
        reply = await checking.asked(sidecar, scenario.question)
        async with AsyncExitStack() as stack:
            servers = [sidecar]
            for name in BARE:
                servers.append(await stack.enter_async_context(bare(name, reply)))
            for server in servers:
                await self._load(server, scenario, in_flight=5, seconds=WARM_UP_SECONDS)
            for _ in range(self.rounds):
                for in_flight in scenario.in_flight:
                    for server in servers:
                        await self._measured(server, scenario, in_flight, reply)
        await checking.asked(sidecar, scenario.question)

    async def _measured(self, server: Server, scenario: Scenario, in_flight: int, reply: bytes) -> None:
        async with self._feed(scenario if server.sidecar else None), self._storm(server, scenario):
            counted = await checking.counts(server)
            before = server.usage()
            got = await self._load(server, scenario, in_flight=in_flight, seconds=self.seconds)
            after = server.usage()
            checking.compare(scenario, got, counted, await checking.counts(server), reply)
        measured = _measured(server, scenario, in_flight, got, before, after)
        self.say(
            f"{scenario.name:16} {server.name:14} {in_flight:3} in flight: {measured.per_second:7.0f} req/s"
        )
        self.results.append(measured)

    async def _load(self, server: Server, scenario: Scenario, *, in_flight: int, seconds: int) -> Load:
        if scenario.is_varied:
            got = await load.varied(
                server.port, scenario, in_flight=in_flight, seconds=seconds, first_new=self._asked_about
            )
            self._asked_about += got.new_customers + scenario.connections * in_flight
            return got
        return await load.repeated(
            server.port,
            scenario.question,
            connections=scenario.connections,
            in_flight=in_flight,
            seconds=seconds,
            folder=self.folder,
        )

    @asynccontextmanager
    async def _feed(self, scenario: Scenario | None) -> AsyncIterator[None]:
        """How many events a second while within."""
        if scenario is None or scenario.feed_events_per_second == 0:
            yield
            return
        task = asyncio.create_task(_push_events(self.emulator, scenario.feed_events_per_second))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def _storm(self, server: Server, scenario: Scenario) -> AsyncIterator[None]:
        """Misses all the time while within."""
        before = await checking.counts(server) if scenario.misses_in_flight else None
        if before is None:
            yield
            return
        storm = asyncio.create_task(
            load.misses(
                server.port,
                in_flight=scenario.misses_in_flight,
                seconds=STORM_SECONDS,
                first_new=self._asked_about,
            )
        )
        try:
            await _misses_after(server, before.misses)
            yield
        finally:
            storm.cancel()
            await asyncio.gather(storm, return_exceptions=True)
            self._asked_about += round(await _misses_after(server, before.misses)) + scenario.misses_in_flight


async def _misses_after(server: Server, before: float) -> float:
    """How many misses there are more than `before`, as soon as there is one.

    Raises:
        TimeoutError: there is none.
    """
    async with asyncio.timeout(STORM_SECONDS):
        while True:
            counted = await checking.counts(server)
            if counted is not None and counted.misses > before:
                return counted.misses - before
            await asyncio.sleep(STORM_TICK_SECONDS)


async def _push_events(emulator: Emulator, per_second: int) -> None:
    """Moves meters at an even pace, also when a turn comes late."""
    loop = asyncio.get_running_loop()
    began, reported = loop.time(), 0
    while True:
        due = round((loop.time() - began) * per_second)
        for number in range(reported, due):
            emulator.state.set_usage(feed_customer(number % FEED_CUSTOMERS), "feature-metered", 420 + number)
        reported = due
        await asyncio.sleep(FEED_TICK_SECONDS)


def _measured(
    server: Server, scenario: Scenario, in_flight: int, got: Load, before: Usage, after: Usage
) -> Measured:
    cpu_seconds = after.cpu_seconds - before.cpu_seconds
    return Measured(
        server=server.name,
        scenario=scenario.name,
        in_flight=in_flight,
        per_second=got.per_second,
        p50_us=got.p50_us,
        p99_us=got.p99_us,
        cpu_us=cpu_seconds / got.requests * 1e6,
        rss_mb=after.rss_mb,
    )
