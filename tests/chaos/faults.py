"""What can be done to the machine: each fault is a context in which something is broken."""

import asyncio
import contextlib
import errno
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil

from tests.chaos.machine import WORKERS, Machine
from tests.chaos.proxy import TcpProxy
from tests.chaos.records import Run

Targets = Sequence[str]
Act = Callable[[Machine, Run, Targets], AbstractAsyncContextManager[None]]
AFTERMATH_SECONDS = 6.0
"""Breakers, back-off and the lease need so long after a fault."""
KEY_AFTERMATH_SECONDS = 20.0
"""A refused key is tried again more rarely."""
SLOW_FEED_SECONDS = 125.0
"""A feed that was told to go away comes back more rarely still (30 to 120 s)."""
CLOCK_JUMPS_SECONDS = (3_700, -3_700, 40 * 86_400, -40 * 86_400)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """A fault that the forecast may choose."""

    name: str
    family: str
    """Of one family there is one at a time."""
    act: Act
    most_targets: int = 2
    """How many instances it may strike at a time; 0: what it strikes is shared by all."""
    aftermath_seconds: float = AFTERMATH_SECONDS
    longest_seconds: float = 3.0
    breaks_feed: bool = True
    """False where it touches only what the sidecar asks for."""


def _cloud(*ways: tuple[str, str], drop: bool = False, **values: object) -> Act:
    @asynccontextmanager
    async def broken(machine: Machine, _run: Run, _targets: Targets) -> AsyncIterator[None]:
        for transport, kind in ways:
            await machine.cloud.ask("PUT", "faults", transport=transport, kind=kind, **values)
        if drop:
            await machine.cloud.ask("POST", "feed/drop")
        try:
            yield
        finally:
            for transport, _ in ways:
                await machine.cloud.ask("DELETE", f"faults?transport={transport}")

    return broken


def _everywhere(kind: str, **values: object) -> Act:
    return _cloud(("edge", kind), ("graphql", kind), ("ws", kind), drop=True, **values)


@asynccontextmanager
async def _cloud_paused(machine: Machine, _run: Run, _targets: Targets) -> AsyncIterator[None]:
    machine.cloud.pause()
    try:
        yield
    finally:
        machine.cloud.resume()


@asynccontextmanager
async def _half_open(machine: Machine, _run: Run, _targets: Targets) -> AsyncIterator[None]:
    await machine.cloud.ask("PUT", "faults", transport="ws", kind="silent")
    await machine.cloud.ask("POST", "feed/silence")
    try:
        yield
    finally:
        await machine.cloud.ask("DELETE", "faults?transport=ws")


@asynccontextmanager
async def _published(machine: Machine, _run: Run, _targets: Targets) -> AsyncIterator[None]:
    """All that is cached is in doubt at once, and what is fetched arrives later than what the feed tells."""
    await machine.cloud.ask("PUT", "faults", transport="edge", kind="slow", delay_ms=400)
    await machine.cloud.ask("POST", "publish", migrationType="ALL_CUSTOMERS")
    try:
        yield
    finally:
        await machine.cloud.ask("DELETE", "faults?transport=edge")


@asynccontextmanager
async def _feed_garbage(machine: Machine, _run: Run, _targets: Targets) -> AsyncIterator[None]:
    await machine.cloud.ask("POST", "feed/raw", text='{"type": "next", "id"')
    yield


@asynccontextmanager
async def _lines(machine: Machine, _run: Run, targets: Targets, *, of: str, how: str) -> AsyncIterator[None]:
    lines: list[TcpProxy] = [getattr(machine, f"{of}_lines")[name] for name in targets]
    for line in lines:
        match how:
            case "slow":
                line.slow(0.15)
            case "sliced":
                line.slice(7, 0.002)
            case "deaf":
                line.deafen()
            case "half-open":
                line.forget()
            case "cut":
                line.cut()
            case _:
                await line.refuse()
    try:
        yield
    finally:
        for line in lines:
            line.clear()
            await line.accept()


@asynccontextmanager
async def _redis_killed(machine: Machine, _run: Run, _targets: Targets) -> AsyncIterator[None]:
    await asyncio.to_thread(machine.redis.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(machine.redis.start)


@asynccontextmanager
async def _redis_paused(machine: Machine, _run: Run, _targets: Targets) -> AsyncIterator[None]:
    machine.redis.pause()
    try:
        yield
    finally:
        machine.redis.resume()


@asynccontextmanager
async def _redis_emptied(machine: Machine, run: Run, _targets: Targets) -> AsyncIterator[None]:
    """What waits in the outbox goes with it: those promises nobody can keep, and the judge is told which."""
    arrived = await machine.cloud.counted(run)
    await asyncio.to_thread(machine.redis.command, "FLUSHALL")
    for identity, write in run.writes.items():
        write.is_given_up = write.is_given_up or identity not in arrived
    yield


@asynccontextmanager
async def _redis_commanded(
    machine: Machine, _run: Run, _targets: Targets, *, breaking: str, mending: str
) -> AsyncIterator[None]:
    await asyncio.to_thread(machine.redis.command, *breaking.split())
    try:
        yield
    finally:
        await asyncio.to_thread(machine.redis.command, *mending.split())


@asynccontextmanager
async def _sidecar_killed(machine: Machine, _run: Run, targets: Targets) -> AsyncIterator[None]:
    instance = machine.instances[targets[0]]
    await instance.kill()
    try:
        yield
    finally:
        await instance.start()


@asynccontextmanager
async def _sidecar_rolled(machine: Machine, _run: Run, targets: Targets) -> AsyncIterator[None]:
    instance = machine.instances[targets[0]]
    await instance.stop()
    try:
        yield
    finally:
        await instance.start()


@asynccontextmanager
async def _sidecar_paused(machine: Machine, _run: Run, targets: Targets) -> AsyncIterator[None]:
    instance = machine.instances[targets[0]]
    instance.pause()
    try:
        yield
    finally:
        instance.resume()


@asynccontextmanager
async def _worker_killed(machine: Machine, run: Run, targets: Targets) -> AsyncIterator[None]:
    instance = machine.instances[targets[0]]
    times = instance.times_listening()
    random.Random(run.seed).choice(instance.workers()).kill()
    try:
        yield
    finally:
        await instance.listening(times + 1)


@asynccontextmanager
async def _worker_paused(machine: Machine, run: Run, targets: Targets) -> AsyncIterator[None]:
    worker = random.Random(run.seed).choice(machine.instances[targets[0]].workers())
    worker.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.resume()


@asynccontextmanager
async def _disk_full(machine: Machine, _run: Run, targets: Targets) -> AsyncIterator[None]:
    fillers = [machine.data_dir(name) / "filler" for name in targets]
    for filler in fillers:
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    os.write(file.fileno(), b"x" * 4096)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    try:
        yield
    finally:
        for filler in fillers:
            filler.unlink(missing_ok=True)


@asynccontextmanager
async def _packets_dropped(machine: Machine, _run: Run, _targets: Targets) -> AsyncIterator[None]:
    with contextlib.ExitStack() as stack:
        for name, space in machine.spaces.items():
            ports = [machine.cloud_lines[name].port, machine.redis_lines[name].port]
            stack.enter_context(space.dropping(ports))
        yield


@asynccontextmanager
async def _clock_jump(machine: Machine, run: Run, targets: Targets) -> AsyncIterator[None]:
    for name in targets:
        jump = random.Random(run.seed).choice(CLOCK_JUMPS_SECONDS)
        machine.set_clock(name, wrong_by_seconds=jump)
    try:
        yield
    finally:
        for name in targets:
            machine.set_clock(name, wrong_by_seconds=0)


FETCH_ONLY = frozenset(
    {"answers cut", "answers lost", "errors in 200", "Edge down", "API hanging", "all published", "cloud 429"}
)
"""Faults during which the feed tells every change."""


def _kinds(family: str, acts: dict[str, Act], **values: Any) -> list[FaultKind]:
    return [
        FaultKind(name=name, family=family, act=act, breaks_feed=name not in FETCH_ONLY, **values)
        for name, act in acts.items()
    ]


FAULTS: tuple[FaultKind, ...] = (
    *_kinds(
        "cloud",
        {
            "cloud down": _everywhere("down"),
            "cloud slow": _everywhere("slow", delay_ms=700),
            "cloud hanging": _everywhere("hang"),
            "cloud 500": _everywhere("status", status=500),
            "cloud 429": _cloud(("edge", "throttled"), ("graphql", "throttled"), retry_after_seconds=1),
            "cloud garbage": _everywhere("garbage"),
            "answers cut": _cloud(("edge", "truncated"), ("graphql", "truncated")),
            "answers lost": _cloud(("edge", "lost_answer"), ("graphql", "lost_answer")),
            "errors in 200": _cloud(("edge", "errors_200"), ("graphql", "errors_200")),
            "Edge down": _cloud(("edge", "down")),
            "API hanging": _cloud(("graphql", "hang")),
            "feed refused": _cloud(("ws", "down"), drop=True),
            "feed without ack": _cloud(("ws", "no_ack"), drop=True),
            "feed half-open": _half_open,
            "feed garbage": _feed_garbage,
            "cloud paused": _cloud_paused,
            "all published": _published,
        },
        most_targets=0,
    ),
    FaultKind(
        name="wrong key",
        family="cloud",
        act=_cloud(("edge", "bad_key"), ("graphql", "bad_key")),
        most_targets=0,
        aftermath_seconds=KEY_AFTERMATH_SECONDS,
        breaks_feed=False,
    ),
    *_kinds(
        "slow feed",
        {
            "feed refuses the key": _cloud(("ws", "bad_key"), drop=True),
            "feed 429": _cloud(("ws", "throttled"), drop=True),
        },
        most_targets=0,
        aftermath_seconds=SLOW_FEED_SECONDS,
    ),
    *_kinds(
        "line",
        {
            f"cloud line {how}": partial(_lines, of="cloud", how=how)
            for how in ("slow", "sliced", "deaf", "half-open", "cut", "refused")
        },
    ),
    *_kinds(
        "redis",
        {
            f"Redis line {how}": partial(_lines, of="redis", how=how)
            for how in ("slow", "sliced", "deaf", "half-open", "cut", "refused")
        },
    ),
    *_kinds(
        "redis",
        {
            "Redis killed": _redis_killed,
            "Redis paused": _redis_paused,
            "Redis emptied": _redis_emptied,
            "Redis read-only": partial(
                _redis_commanded, breaking="REPLICAOF 127.0.0.1 1", mending="REPLICAOF NO ONE"
            ),
            "Redis out of memory": partial(
                _redis_commanded, breaking="CONFIG SET maxmemory 1", mending="CONFIG SET maxmemory 0"
            ),
        },
        most_targets=0,
    ),
    *_kinds(
        "process",
        {
            "sidecar killed": _sidecar_killed,
            "sidecar paused": _sidecar_paused,
            "sidecar rolled": _sidecar_rolled,
            "worker killed": _worker_killed,
            "worker paused": _worker_paused,
        },
        most_targets=1,
    ),
    FaultKind(name="packets dropped", family="network", act=_packets_dropped, most_targets=0),
    FaultKind(name="disk full", family="disk", act=_disk_full, breaks_feed=False),
    FaultKind(name="clock jumps", family="clock", act=_clock_jump, breaks_feed=False),
)
FAULT_BY_NAME = {fault.name: fault for fault in FAULTS}
assert WORKERS > 1, "a killed worker needs another beside it"


def now() -> float:
    """Monotonic seconds: the only clock of records."""
    return time.monotonic()
