"""What can be done to the machine: each fault is a context in which something is broken."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.chaos import load_faults, process_faults, redis_faults
from tests.chaos.machine import Machine
from tests.chaos.proxy import TcpProxy
from tests.chaos.records import Run
from tests.chaos.stores import ONE_SERVER, REPLICAS, SLOTS
from tests.chaos.worlds import MANY_WORKERS
from tests.redis_server import RedisServer

Targets = Sequence[str]
Act = Callable[[Machine, Run, Targets], AbstractAsyncContextManager[None]]
STRANGERS = 200
AFTERMATH_SECONDS = 6.0
"""Breakers, back-off and the lease need so long after a fault."""
KEY_AFTERMATH_SECONDS = 20.0
"""A refused key is tried again more rarely."""
SLOW_FEED_SECONDS = 125.0
"""A feed that was told to go away comes back more rarely still (30 to 120 s)."""


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
    needs: str = ""
    """What a world must offer for it."""


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
    """All that is cached is in doubt at once, and what is fetched arrives later than what the feed sends."""
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
async def _redirected(machine: Machine, run: Run, _targets: Targets) -> AsyncIterator[None]:
    """Who follows shows the key to whoever listens there."""

    async def caught(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        run.redirected += 1
        writer.close()

    async with await asyncio.start_server(caught, "127.0.0.1", 0) as trap:
        location = f"http://127.0.0.1:{trap.sockets[0].getsockname()[1]}/"
        ways = (("edge", "redirect"), ("graphql", "redirect"))
        async with _cloud(*ways, location=location)(machine, run, _targets):
            yield


@asynccontextmanager
async def _feed_of_strangers(machine: Machine, _run: Run, _targets: Targets) -> AsyncIterator[None]:
    """It reports customers whom nobody asked for, and of resources that nobody knows."""
    for number in range(STRANGERS):
        payload: dict[str, object] = {"customerId": f"stranger-{number}", "accessDeniedReason": None}
        payload |= {"resourceId": "r" if number % 2 else None, "entitlements": []}
        await machine.cloud.ask("POST", "feed", field="entitlementsUpdatedV2", payload=payload)
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


FETCH_ONLY = frozenset(
    {"answers cut", "answers lost", "errors in 200", "Edge down", "API hanging", "all published", "cloud 429"}
    | {"cloud of 30 MB", "cloud elsewhere", *load_faults.ACTS}
)
"""Faults during which the feed sends every change."""


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
            "cloud at 300 ms": _everywhere("slow", delay_ms=300),
            "cloud at 9 s": _everywhere("slow", delay_ms=9_000),
            "cloud of 30 MB": _cloud(("edge", "huge"), ("graphql", "huge"), megabytes=30),
            "cloud elsewhere": _redirected,
            "feed of strangers": _feed_of_strangers,
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
        needs=ONE_SERVER,
    ),
    *_kinds(
        "redis",
        {
            "Redis killed": redis_faults.redis_killed,
            "Redis paused": redis_faults.redis_paused,
            "Redis read-only": partial(
                redis_faults.redis_commanded, breaking="REPLICAOF 127.0.0.1 1", mending="REPLICAOF NO ONE"
            ),
            "Redis out of memory": partial(
                redis_faults.redis_commanded,
                breaking="CONFIG SET maxmemory 1",
                mending="CONFIG SET maxmemory 0",
            ),
        },
        most_targets=0,
        needs=ONE_SERVER,
    ),
    *_kinds("redis", {"Redis emptied": redis_faults.redis_emptied}, most_targets=0),
    *_kinds(
        "redis",
        {
            "primary killed": partial(
                redis_faults.primary_lost, lose=RedisServer.stop, bring_back=RedisServer.start
            ),
            "primary frozen": partial(
                redis_faults.primary_lost, lose=RedisServer.pause, bring_back=RedisServer.resume
            ),
            "replica promoted": redis_faults.replica_promoted,
        },
        most_targets=0,
        needs=REPLICAS,
    ),
    *_kinds("redis", {"slots moved": redis_faults.slots_moved}, most_targets=0, needs=SLOTS),
    *_kinds(
        "process",
        {
            "sidecar killed": process_faults.sidecar_killed,
            "sidecar paused": process_faults.sidecar_paused,
            "sidecar rolled": process_faults.sidecar_rolled,
        },
        most_targets=1,
    ),
    *_kinds(
        "process",
        {"worker killed": process_faults.worker_killed, "worker paused": process_faults.worker_paused},
        most_targets=1,
        needs=MANY_WORKERS,
    ),
    FaultKind(
        name="leader paused",
        family="process",
        act=process_faults.leader_paused,
        most_targets=0,
        longest_seconds=5.0,
    ),
    FaultKind(name="packets dropped", family="network", act=process_faults.packets_dropped, most_targets=0),
    FaultKind(name="disk full", family="disk", act=process_faults.disk_full, breaks_feed=False),
    FaultKind(name="clock jumps", family="clock", act=process_faults.clock_jump, breaks_feed=False),
    *_kinds("load", load_faults.ACTS, most_targets=0),
)
FAULT_BY_NAME = {fault.name: fault for fault in FAULTS}


def absent(offers: Collection[str]) -> frozenset[str]:
    """The faults that a world cannot have that offers no more than this."""
    return frozenset(fault.name for fault in FAULTS if fault.needs and fault.needs not in offers)
