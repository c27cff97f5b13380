"""What can be done to the Redis of a machine."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from tests.chaos.machine import Machine
from tests.chaos.records import Run
from tests.chaos.stores import Cluster, rejoined
from tests.redis_server import RedisServer

Targets = Sequence[str]


def _give_up(run: Run, arrived: Mapping[str, int]) -> None:
    """Nobody can keep these promises; the judge learns which."""
    for identity, write in run.writes.items():
        write.is_given_up = write.is_given_up or identity not in arrived


@asynccontextmanager
async def redis_killed(machine: Machine, _run: Run, _targets: Targets) -> AsyncIterator[None]:
    await asyncio.to_thread(machine.store.primary.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(machine.store.primary.start)


@asynccontextmanager
async def redis_paused(machine: Machine, _run: Run, _targets: Targets) -> AsyncIterator[None]:
    primary = machine.store.primary
    primary.pause()
    try:
        yield
    finally:
        primary.resume()


@asynccontextmanager
async def redis_emptied(machine: Machine, run: Run, _targets: Targets) -> AsyncIterator[None]:
    """What waits in the outbox goes with it: those promises nobody can keep, and the judge learns which."""
    arrived = await machine.cloud.counted(run)
    await asyncio.to_thread(machine.store.empty)
    _give_up(run, arrived)
    yield


@asynccontextmanager
async def redis_commanded(
    machine: Machine, _run: Run, _targets: Targets, *, breaking: str, mending: str
) -> AsyncIterator[None]:
    await asyncio.to_thread(machine.store.primary.command, *breaking.split())
    try:
        yield
    finally:
        await asyncio.to_thread(machine.store.primary.command, *mending.split())


@asynccontextmanager
async def primary_lost(
    machine: Machine,
    run: Run,
    _targets: Targets,
    *,
    lose: Callable[[RedisServer], None],
    bring_back: Callable[[RedisServer], None],
) -> AsyncIterator[None]:
    """Another takes its place, and what only it had goes with it; it comes back as a replica.

    Killed, it is gone; frozen, it goes on as if nothing had been, until it is told.
    """
    async with machine.fleet_turn:
        arrived = await machine.cloud.counted(run)
        lost = await asyncio.to_thread(lambda: machine.store.primary)
        await asyncio.to_thread(lose, lost)
        try:
            await asyncio.to_thread(machine.store.failed_over, lost)
            yield
        finally:
            await asyncio.to_thread(bring_back, lost)
            await asyncio.to_thread(rejoined, lost)
            _give_up(run, arrived)


@asynccontextmanager
async def replica_promoted(machine: Machine, run: Run, _targets: Targets) -> AsyncIterator[None]:
    """As before maintenance."""
    async with machine.fleet_turn:
        arrived = await machine.cloud.counted(run)
        await asyncio.to_thread(machine.store.promote)
        yield
        _give_up(run, arrived)


@asynccontextmanager
async def slots_moved(machine: Machine, run: Run, _targets: Targets) -> AsyncIterator[None]:
    """Those of the run's customers, with all that is known of them."""
    async with machine.fleet_turn:
        assert isinstance(machine.store, Cluster)
        await asyncio.to_thread(machine.store.move_slots, run.truth.customers())
        yield
