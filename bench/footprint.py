"""What it costs to be there: processor time until it listens, memory when idle and per cached customer."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from bench import load
from bench.scenarios import CUSTOMERS, Sidecar
from bench.servers import running
from emulator.server import Emulator

SETTLE_SECONDS = 2.0
WARM_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """One sidecar's."""

    ready_cpu_seconds: float
    """From the start of the process until it listens and follows the feed."""
    idle_rss_mb: float
    rss_bytes_per_customer: float
    """By the system: how much more memory the process has with the customers in it."""
    counted_bytes_per_customer: float
    """By the memory tier, which counts what it bounds."""
    cpu_us_per_miss: float
    customers: int


async def footprint(emulator: Emulator, folder: Path, *, engine: str | None) -> Footprint:
    """Starts a sidecar and fills its memory with customers of ten entitlements."""
    async with running(Sidecar(), emulator, folder, engine=engine) as server:
        ready = server.usage()
        await asyncio.sleep(SETTLE_SECONDS)
        idle = server.usage()
        got = await load.each_once(server.port, seconds=WARM_SECONDS)
        full = server.usage()
        assert server.sidecar is not None  # noqa: S101 - it is one
        counted = await server.sidecar.metric('sidecar_cache_bytes{tier="memory"}')
    return Footprint(
        ready_cpu_seconds=ready.cpu_seconds,
        idle_rss_mb=idle.rss_mb,
        rss_bytes_per_customer=(full.rss_mb - idle.rss_mb) * 2**20 / CUSTOMERS,
        counted_bytes_per_customer=counted / CUSTOMERS,
        cpu_us_per_miss=(full.cpu_seconds - idle.cpu_seconds) / got.requests * 1e6,
        customers=CUSTOMERS,
    )
