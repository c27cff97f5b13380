"""What others notice of an attack: their hits, misses and questions about health, and the kubelet's probe."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.harness import SidecarProcess, check, client_of

CUSTOMER = "bystander"
COLD = "cold-"
"""Begins the names of customers that nobody asked about before; the cloud of an attack knows them all."""
CHECK_PAUSE_SECONDS = 0.002
HEALTH_PAUSE_SECONDS = 0.05
MISS_PAUSE_SECONDS = 0.1
LIVEZ_PAUSE_SECONDS = 0.1
LIVEZ_SECONDS = 1.0
"""What a kubelet waits for an answer."""
_numbers = count()


@dataclass
class Noticed:
    """What others noticed meanwhile; times in seconds."""

    checks: list[float] = field(default_factory=list)
    misses: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Of hits and of health."""
    missed_misses: list[str] = field(default_factory=list)
    """Checks of cold customers that failed, or had a fallback."""
    livez: list[float] = field(default_factory=list)
    livez_missed: int = 0
    """Not answered within a second."""
    growth_mb: float = 0.0

    def percentile(self, share: float) -> float:
        """Of the checks."""
        return percentile(self.checks, share)


def percentile(times: list[float], share: float) -> float:
    """Not a number where nothing was answered at all."""
    ordered = sorted(times)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")


async def noticed_of(sidecar: SidecarProcess, *, seconds: float, misses: bool = False) -> Noticed:
    """Looks for so long."""
    noticed = Noticed()
    process = psutil.Process(sidecar.process.pid)
    before = process.memory_info().rss
    looks = [_checks, _health, _livez, *([_misses] if misses else [])]
    tasks = [asyncio.create_task(look(sidecar, noticed)) for look in looks]
    try:
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            await asyncio.sleep(0.05)
            noticed.growth_mb = max(noticed.growth_mb, (process.memory_info().rss - before) / 1e6)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if not isinstance(end, asyncio.CancelledError):
            noticed.failures.append(repr(end))
    return noticed


async def _checks(sidecar: SidecarProcess, noticed: Noticed) -> None:
    async with client_of(sidecar) as client:
        while True:
            await _timed(lambda: check(client, CUSTOMER), noticed.checks, noticed.failures)
            await asyncio.sleep(CHECK_PAUSE_SECONDS)


async def _misses(sidecar: SidecarProcess, noticed: Noticed) -> None:
    async with client_of(sidecar) as client:
        while True:
            customer = f"{COLD}{next(_numbers)}"
            await _timed(lambda: check(client, customer), noticed.misses, noticed.missed_misses)  # noqa: B023
            await asyncio.sleep(MISS_PAUSE_SECONDS)


async def _timed(ask: Callable[[], Awaitable[object]], times: list[float], failures: list[str]) -> None:
    started = time.perf_counter()
    try:
        answer = await ask()
        if getattr(answer, "is_fallback", False):
            failures.append(str(answer))
    except grpc.aio.AioRpcError as error:
        failures.append(str(error.code()))
    times.append(time.perf_counter() - started)


async def _health(sidecar: SidecarProcess, noticed: Noticed) -> None:
    async with grpc.aio.insecure_channel(sidecar.address) as channel:
        health: Any = HealthStub(channel)
        while True:
            await _timed(
                lambda: health.Check(health_pb2.HealthCheckRequest(), timeout=5), [], noticed.failures
            )
            await asyncio.sleep(HEALTH_PAUSE_SECONDS)


async def _livez(sidecar: SidecarProcess, noticed: Noticed) -> None:
    while True:
        started = time.perf_counter()
        head = b""
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(LIVEZ_SECONDS):
                head = await asked(
                    sidecar.http_port, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                )
        noticed.livez_missed += not head.startswith(b"HTTP/1.1 200")
        noticed.livez.append(time.perf_counter() - started)
        await asyncio.sleep(LIVEZ_PAUSE_SECONDS)


async def asked(port: int, request: bytes) -> bytes:
    """The head of the answer; the connection is closed also where the asker is cancelled."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(20):
            return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.transport.abort()
