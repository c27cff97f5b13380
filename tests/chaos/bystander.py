"""Somebody else's calls go on while the sidecar is under fire, and what that costs it is bounded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import psutil

from tests.harness import SidecarProcess, check, client_of

PAUSE_SECONDS = 0.02
LAST_CALLS_SECONDS = 20.0
"""Two more calls have to be answered within this after the fire."""
MAX_GROWTH_MB = 200
"""Under fire the process may take so much more than before."""
DEFECTS = ("Traceback", "unexpected error", "unexpected exception", "unexpectedly")
"""No hostile input may make it log such a thing."""


@dataclass
class Bystander:
    """What another client saw meanwhile."""

    calls: int = 0
    failures: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0
    peak_growth_mb: float = 0.0


@asynccontextmanager
async def watched(sidecar: SidecarProcess, customer_id: str = "bystander") -> AsyncIterator[Bystander]:
    """While entered, a customer's granted feature is checked again and again; judged when left."""
    bystander = Bystander()
    task = asyncio.create_task(_check_on(sidecar, customer_id, bystander))
    try:
        yield bystander
        seen = bystander.calls
        async with asyncio.timeout(LAST_CALLS_SECONDS):
            while bystander.calls < seen + 2 and not task.done():  # noqa: ASYNC110 - calls end, and announce it to nobody
                await asyncio.sleep(PAUSE_SECONDS)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert sidecar.process.returncode is None, sidecar.output[-3000:]
    assert [] == bystander.failures[:3]
    assert bystander.peak_growth_mb < MAX_GROWTH_MB
    assert (await sidecar.get("/livez")).is_success
    assert [] == [line for line in sidecar.lines if any(word in line for word in DEFECTS)]


async def _check_on(sidecar: SidecarProcess, customer_id: str, bystander: Bystander) -> None:
    loop = asyncio.get_running_loop()
    process = psutil.Process(sidecar.process.pid)
    before = process.memory_info().rss
    async with client_of(sidecar) as client:
        while True:
            started = loop.time()
            try:
                answer = await check(client, customer_id)
                if not answer.has_access or answer.is_fallback:
                    bystander.failures.append(str(answer))
            except grpc.aio.AioRpcError as error:
                bystander.failures.append(f"{error.code()} {error.details()}")
            bystander.calls += 1
            bystander.slowest_seconds = max(bystander.slowest_seconds, loop.time() - started)
            growth_mb = (process.memory_info().rss - before) / 1e6
            bystander.peak_growth_mb = max(bystander.peak_growth_mb, growth_mb)
            await asyncio.sleep(PAUSE_SECONDS)
