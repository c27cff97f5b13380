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
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from bench.beds import KNOWN, Bed, beds_of
from bench.customers import state_with
from bench.servers import LOAD_CORE, on_core
from emulator.dates import system_now_ms
from emulator.server import Emulator
from emulator.usage import Json, Scope
from grpc_service.generated import sidecar_pb2 as pb
from tests.harness import ROOT
from tests.redis_server import RedisServer

OPERATIONS = 600
HITS = 2000
AT_A_TIME = 32
ENTITLEMENTS = 10
EVENTS_A_CALL = 10
FEED_EVENTS = 1000
REPORTED_CUSTOMERS = 100
NEVER_ASKED = "never-asked"


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
        fetches = bed.fetches
        reported = await bed.net_of(work(bed, turn))
        if not turn:
            return
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


async def _measure(notes: Notes, trees: Sequence[Path]) -> None:
    async with _cloud(notes.rounds) as emulator:
        if notes.asked(ALONE):
            async with beds_of(emulator, trees, {}) as beds:
                await notes.measure(ALONE, beds)
        for works in filter(notes.asked, (WITH_REDIS, WITH_FULL_REDIS)):
            with RedisServer() as redis:
                settings = {"REDIS_ENVIRONMENT_PREFIX": "bench-{tree}", "REDIS_PORT": str(redis.port)}
                async with beds_of(emulator, trees, settings, has_writers=works is WITH_FULL_REDIS) as beds:
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
