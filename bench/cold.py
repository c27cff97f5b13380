"""What is not answered from memory: the server's processor time an operation, `python -m bench.cold`.

The server has one processor to itself; load, cloud and Redis share the other. Each operation is done the same
number of times, 32 at a time, about customers that nobody asked about before. Only ratios of two trees,
measured in turn, mean something: `python -m bench.cold --json` in each.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.customers import state_with
from bench.scenarios import Sidecar
from bench.servers import LOAD_CORE, Server, channel_to, on_core, running
from emulator.dates import system_now_ms
from emulator.server import Emulator
from emulator.usage import Json, Scope
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.generated import sidecar_pb2_grpc as pb_grpc
from tests.redis_server import RedisServer

OPERATIONS = 1500
AT_A_TIME = 32
ROUNDS = 3
ENTITLEMENTS = 10
EVENTS_A_CALL = 10
FEED_EVENTS = 3000

Operation = Callable[["Bed", int], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bed:
    """Where an operation is measured."""

    emulator: Emulator
    server: Server
    stub: "pb_grpc.SidecarServiceAsyncStub"

    async def check(self, customer_id: str) -> None:
        """A Boolean check, which must not be a fallback."""
        answer = await self.stub.GetBooleanEntitlement(
            pb.GetBooleanEntitlementRequest(customer_id=customer_id, feature_id="feature-boolean")
        )
        if answer.is_fallback:
            sys.exit(f"a check of {customer_id} was answered by its fallback")


def _customer(number: int) -> str:
    return f"cold-{number}"


async def _miss(bed: Bed, number: int) -> None:
    await bed.check(_customer(number))


async def _report_usage(bed: Bed, number: int) -> None:
    await bed.stub.ReportUsage(
        pb.ReportUsageRequest(customer_id=_customer(number % 100), feature_id="feature-metered", value=1)
    )


async def _report_events(bed: Bed, number: int) -> None:
    events = [
        pb.Event(customer_id=_customer(number % 100), event_name="call", idempotency_key=f"{number}-{each}")
        for each in range(EVENTS_A_CALL)
    ]
    await bed.stub.ReportEvents(pb.ReportEventsRequest(events=events))


async def _told(bed: Bed, customer_id: str) -> None:
    """Usage of a customer moves in the cloud, which the feed tells, so many times."""
    for number in range(FEED_EVENTS):
        bed.emulator.state.set_usage(customer_id, "feature-metered", 421 + number)
        if number % AT_A_TIME == 0:
            await asyncio.sleep(0.001)  # the feed's own turns
    await _applied(bed)


async def _applied(bed: Bed) -> None:
    """Returns once the server has nothing more to do."""
    before = -1.0
    while before != (before := bed.server.usage().cpu_seconds):  # noqa: ASYNC110 - it tells no event
        await asyncio.sleep(0.3)


async def _each(operation: Operation, bed: Bed, numbers: range) -> None:
    left = iter(numbers)

    async def caller() -> None:
        for number in left:
            await operation(bed, number)

    await asyncio.gather(*(caller() for _ in range(AT_A_TIME)))


@asynccontextmanager
async def _cloud() -> AsyncIterator[Emulator]:
    states: dict[Scope, Json] = {
        (_customer(number), None): state_with(ENTITLEMENTS, now_ms=system_now_ms())
        for number in range(OPERATIONS * (ROUNDS + 1))
    }
    async with Emulator(states=states) as emulator:
        yield emulator


@asynccontextmanager
async def _bed(emulator: Emulator, **settings: str) -> AsyncIterator[Bed]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with (
            running(Sidecar(settings=settings), emulator, Path(folder), engine=None) as server,
            channel_to(server) as channel,
        ):
            yield Bed(emulator=emulator, server=server, stub=pb_grpc.SidecarServiceStub(channel))


async def _spent(bed: Bed, work: Awaitable[None], operations: int) -> float:
    """Microseconds of the server's processor an operation."""
    before = bed.server.usage().cpu_seconds
    await work
    return (bed.server.usage().cpu_seconds - before) / operations * 1e6


@dataclass(slots=True)
class Notes:
    """What each operation took, round by round."""

    spent: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    async def note(self, name: str, bed: Bed, work: Awaitable[None], operations: int = OPERATIONS) -> None:
        """Microseconds of the server's processor an operation, while the work is done."""
        before = bed.server.usage().cpu_seconds
        await work
        micros = (bed.server.usage().cpu_seconds - before) / operations * 1e6
        self.spent.setdefault(name, []).append(micros)


def _turns() -> Iterator[tuple[int, range]]:
    """Each turn after the first, which warms up, and the customers that are new in it."""
    for turn in range(1, ROUNDS + 1):
        yield turn, range(turn * OPERATIONS, (turn + 1) * OPERATIONS)


async def _alone(notes: Notes) -> None:
    async with _cloud() as emulator, _bed(emulator) as bed:
        await _each(_miss, bed, range(OPERATIONS))
        for turn, numbers in _turns():
            await notes.note("miss", bed, _each(_miss, bed, numbers))
            await notes.note("report usage", bed, _each(_report_usage, bed, numbers))
            await notes.note("report events", bed, _each(_report_events, bed, numbers))
            await notes.note("feed, cached", bed, _told(bed, _customer(turn)), FEED_EVENTS)
        emulator.state.put("never-asked", state_with(ENTITLEMENTS, now_ms=system_now_ms()), push=False)
        for _ in _turns():
            await notes.note("feed, not cached", bed, _told(bed, "never-asked"), FEED_EVENTS)


async def _with_redis(notes: Notes) -> None:
    async with _cloud() as emulator:
        with RedisServer() as redis:
            settings = {"REDIS_ENVIRONMENT_PREFIX": "bench", "REDIS_PORT": str(redis.port)}
            async with _bed(emulator, **settings) as bed:
                await _each(_miss, bed, range(OPERATIONS))
                for _, numbers in _turns():
                    await notes.note("miss, redis", bed, _each(_miss, bed, numbers))
            async with _bed(emulator, **settings) as bed:
                await _each(_miss, bed, range(OPERATIONS))
                for _, numbers in _turns():
                    await notes.note("redis hit", bed, _each(_miss, bed, numbers))


async def _measured() -> dict[str, list[float]]:
    notes = Notes()
    await _alone(notes)
    await _with_redis(notes)
    return notes.spent


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold", description=__doc__)
    parser.add_argument("--json", action="store_true", help="as JSON: microseconds of each round")
    asked = parser.parse_args()
    with on_core(LOAD_CORE):
        spent = asyncio.run(_measured())
    if asked.json:
        print(json.dumps(spent))  # noqa: T201 - a program of its own
        return
    for name, rounds in spent.items():
        print(f"{name:18} {statistics.median(rounds):8.0f} µs")  # noqa: T201


if __name__ == "__main__":
    main()
