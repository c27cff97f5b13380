"""What is not answered from memory: the server's processor time an operation, `python -m bench.cold`.

The servers have one processor to themselves; load, cloud and Redis share the other. Only ratios mean
something, and only within one run: with `--tree`, the servers of other commits run beside that of this one,
and are measured in turn, round by round. A tree is a checkout (`git archive COMMIT | tar x -C FOLDER`); its
`.venv`, where it has one, runs it.
"""

import argparse
import asyncio
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from bench.customers import state_with
from bench.scenarios import Sidecar
from bench.servers import LOAD_CORE, Server, channel_to, on_core, running
from emulator.dates import system_now_ms
from emulator.server import Emulator
from emulator.usage import Json, Scope
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.generated import sidecar_pb2_grpc as pb_grpc
from tests.harness import ROOT
from tests.redis_server import RedisServer

OPERATIONS = 600
HITS = 2000
AT_A_TIME = 32
ENTITLEMENTS = 10
EVENTS_A_CALL = 10
FEED_EVENTS = 1000
REPORTED_CUSTOMERS = 100
KNOWN = "known"
NEVER_ASKED = "never-asked"
SETTLE_SECONDS = 0.3
IDLE_SECONDS = 0.01
"""A server that uses no more of the processor within that time has nothing to do."""
PROCESS_CLOCK = 2
"""Linux: how a clock's number ends that is the processor time of another process, whose id is before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bed:
    """Where an operation is measured."""

    name: str
    emulator: Emulator
    server: Server
    stub: "pb_grpc.SidecarServiceAsyncStub"
    writer: "Bed | None" = None
    """Another process of the same Redis, which does the same before and is not measured."""

    async def check(self, customer_id: str) -> None:
        """A Boolean check, which must not be a fallback."""
        answer = await self.stub.GetBooleanEntitlement(
            pb.GetBooleanEntitlementRequest(customer_id=customer_id, feature_id="feature-boolean")
        )
        if answer.is_fallback:
            sys.exit(f"a check of {customer_id} was answered by its fallback")

    async def meter(self, requested: float) -> None:
        """A Metered check of a customer who is known."""
        await self.stub.GetMeteredEntitlement(
            pb.GetMeteredEntitlementRequest(
                customer_id=KNOWN,
                feature_id="feature-metered",
                options=pb.MeteredEntitlementOptions(requested_usage=requested),
            )
        )

    @property
    def spent(self) -> float:
        """Seconds of the processor, so far; by the process' own clock, since psutil's counts in 0.01 s."""
        return time.clock_gettime(~self.server.pid << 3 | PROCESS_CLOCK)

    @property
    def fetches(self) -> int:
        """How many the cloud was asked for, so far."""
        return self.emulator.counters.total("edge")

    async def settle(self) -> None:
        """Returns once the server has nothing more to do."""
        before = -1.0
        while self.spent - before > IDLE_SECONDS:
            before = self.spent
            await asyncio.sleep(SETTLE_SECONDS)


Operation: TypeAlias = Callable[[Bed, int], Awaitable[Any]]
Work: TypeAlias = Callable[[Bed, int], Awaitable[int]]
"""Does what is measured, in this round, and returns how many operations that were."""


def _customer(number: int) -> str:
    return f"cold-{number}"


async def _hit(bed: Bed, _: int) -> None:
    await bed.meter(1.0)


async def _decided(bed: Bed, number: int) -> None:
    await bed.meter(1.0 + number / 1e6)


async def _miss(bed: Bed, number: int) -> None:
    await bed.check(_customer(number))


async def _report_usage(bed: Bed, number: int) -> None:
    customer_id = _customer(number % REPORTED_CUSTOMERS)
    await bed.stub.ReportUsage(
        pb.ReportUsageRequest(customer_id=customer_id, feature_id="feature-metered", value=1)
    )


async def _report_events(bed: Bed, number: int) -> None:
    customer_id = _customer(number % REPORTED_CUSTOMERS)
    events = [
        pb.Event(customer_id=customer_id, event_name="call", idempotency_key=f"{bed.name}-{number}-{each}")
        for each in range(EVENTS_A_CALL)
    ]
    await bed.stub.ReportEvents(pb.ReportEventsRequest(events=events))


def _many(operation: Operation, operations: int = OPERATIONS) -> Work:
    """The operation, so many at a time, each about another number."""

    async def work(bed: Bed, turn: int) -> int:
        left = iter(range(turn * operations, (turn + 1) * operations))

        async def caller() -> None:
            for number in left:
                await operation(bed, number)

        await asyncio.gather(*(caller() for _ in range(AT_A_TIME)))
        await bed.settle()
        return operations

    return work


def _reported(customer_id: str) -> Work:
    """Usage of a customer moves in the cloud, which the feed sends to everybody."""

    async def work(bed: Bed, turn: int) -> int:
        for number in range(FEED_EVENTS):
            bed.emulator.state.set_usage(customer_id, "feature-metered", 421 + turn * FEED_EVENTS + number)
            if number % AT_A_TIME == 0:
                await asyncio.sleep(0.001)  # the feed's own turns
        await bed.settle()
        return FEED_EVENTS

    return work


ALONE: dict[str, Work] = {
    "hit, remembered": _many(_hit, HITS),
    "hit, decided": _many(_decided, HITS),
    "miss": _many(_miss),
    "report usage": _many(_report_usage),
    "report events": _many(_report_events),
    "feed, cached": _reported(KNOWN),
    "feed, not cached": _reported(NEVER_ASKED),
}
WITH_REDIS: dict[str, Work] = {"miss, redis": _many(_miss)}
WITH_FULL_REDIS: dict[str, Work] = {"redis hit": _many(_miss)}


@dataclass(slots=True, kw_only=True)
class Notes:
    """What each operation took, in microseconds: by operation and tree, round by round."""

    rounds: int
    names: Sequence[str]
    """Of operations; none: all."""
    spent: dict[str, dict[str, list[float]]] = field(default_factory=dict[str, dict[str, list[float]]])

    def asked(self, works: dict[str, Work]) -> dict[str, Work]:
        """Those that are to be measured."""
        return {name: work for name, work in works.items() if not self.names or name in self.names}

    async def measure(self, works: dict[str, Work], beds: Sequence[Bed]) -> None:
        """Each operation in each bed; the round before the first warms up."""
        for turn in range(self.rounds + 1):
            for name, work in self.asked(works).items():
                for bed in beds:
                    await self._measure(name, work, bed, turn)

    async def _measure(self, name: str, work: Work, bed: Bed, turn: int) -> None:
        if bed.writer is not None:
            await work(bed.writer, turn)
        await bed.settle()
        spent, fetches = bed.spent, bed.fetches
        operations = await work(bed, turn)
        if not turn:
            return
        reported = (bed.spent - spent) / operations * 1e6
        has_hit = bed.writer is None or bed.fetches == fetches
        if has_hit:
            self.spent.setdefault(name, {}).setdefault(bed.name, []).append(reported)
        remark = "" if has_hit else ", left out: Redis was not relied on, as after a gap of the feed"
        print(f"{name} {bed.name} {reported:.0f}{remark}", file=sys.stderr)  # noqa: T201


@asynccontextmanager
async def _cloud(rounds: int) -> AsyncIterator[Emulator]:
    state = state_with(ENTITLEMENTS, now_ms=system_now_ms())
    states: dict[Scope, Json] = dict.fromkeys(
        ((_customer(number), None) for number in range(OPERATIONS * (rounds + 1))), state
    )
    for known in (KNOWN, NEVER_ASKED):
        states[known, None] = state_with(ENTITLEMENTS, now_ms=system_now_ms())
    async with Emulator(states=states) as emulator:
        yield emulator


WITHOUT_BUDGET = {"SIDECAR_EDGE_REQUESTS_PER_MINUTE": "1000000"}
"""Past the budget a miss asks the API, which costs more; what is measured asks hundreds a second."""


@asynccontextmanager
async def _bed(
    emulator: Emulator, tree: Path, settings: dict[str, str], *, writer: Bed | None = None
) -> AsyncIterator[Bed]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        own = {name: value.format(tree=tree.name) for name, value in (WITHOUT_BUDGET | settings).items()}
        server = await stack.enter_async_context(
            running(Sidecar(settings=own), emulator, folder, engine=None, tree=tree)
        )
        channel = await stack.enter_async_context(channel_to(server))
        stub = pb_grpc.SidecarServiceStub(channel)
        bed = Bed(name=tree.name, emulator=emulator, server=server, stub=stub, writer=writer)
        await bed.check(KNOWN)
        yield bed


@asynccontextmanager
async def _beds(
    emulator: Emulator, trees: Sequence[Path], settings: dict[str, str], *, has_writers: bool = False
) -> AsyncIterator[list[Bed]]:
    async with AsyncExitStack() as stack:
        beds = []
        for tree in trees:
            writer = await stack.enter_async_context(_bed(emulator, tree, settings)) if has_writers else None
            beds.append(await stack.enter_async_context(_bed(emulator, tree, settings, writer=writer)))
        yield beds


async def _measure(notes: Notes, trees: Sequence[Path]) -> None:
    async with _cloud(notes.rounds) as emulator:
        if notes.asked(ALONE):
            async with _beds(emulator, trees, {}) as beds:
                await notes.measure(ALONE, beds)
        for works in filter(notes.asked, (WITH_REDIS, WITH_FULL_REDIS)):
            with RedisServer() as redis:
                settings = {"REDIS_ENVIRONMENT_PREFIX": "bench-{tree}", "REDIS_PORT": str(redis.port)}
                async with _beds(emulator, trees, settings, has_writers=works is WITH_FULL_REDIS) as beds:
                    await notes.measure(works, beds)


def _table(notes: Notes, trees: Sequence[Path]) -> str:
    """Medians, each with its ratio to the same in every other tree."""
    lines = []
    for name, spent in notes.spent.items():
        own, *others = (statistics.median(spent.get(tree.name, [math.nan])) for tree in trees)
        ratios = [
            f"{own / other:5.2f} x {tree.name} ({other:,.0f})"
            for other, tree in zip(others, trees[1:], strict=True)
        ]
        lines.append(f"{name:18} {own:8,.0f} µs   {'   '.join(ratios)}")
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold", description=__doc__)
    parser.add_argument("operation", nargs="*", help=f"of {', '.join(ALONE | WITH_REDIS | WITH_FULL_REDIS)}")
    parser.add_argument("--tree", type=Path, action="append", default=[], help="another tree to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="microseconds of each round")
    asked = parser.parse_args()
    trees = [ROOT, *(tree.resolve() for tree in asked.tree)]
    notes = Notes(rounds=asked.rounds, names=asked.operation)
    with on_core(LOAD_CORE):
        asyncio.run(_measure(notes, trees))
    print(json.dumps(notes.spent) if asked.json else _table(notes, trees))  # noqa: T201 - a program of its own


if __name__ == "__main__":
    main()
