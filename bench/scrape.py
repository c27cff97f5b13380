"""`python -m bench.scrape`: what Prometheus' scrapes cost the throughput of checks.

Rounds with and without scrapes take turns, so that a machine that changes its pace changes both. Scrapes come
once a second, fifteen times as often as deploy/prometheus asks for them, so that their cost stands out.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import mean

import httpx

from bench.customers import states
from bench.load import repeated
from bench.scenarios import CONNECTIONS, Sidecar, boolean
from bench.servers import LOAD_CORE, Server, on_core, running
from emulator.dates import system_now_ms
from emulator.server import Emulator

PROMETHEUS_SECONDS = 15.0
"""Between two scrapes (deploy/prometheus/prometheus.yml)."""
SCRAPE_SECONDS = 1.0
"""Between two scrapes here."""
IN_FLIGHT = 10


def main() -> None:
    """Reads the command line, measures, reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="of each kind (%(default)s)")
    parser.add_argument("--seconds", type=int, default=8, help="of each round (%(default)s)")
    parser.add_argument("--engine", choices=("aio", "cq"), default=None, help="instead of the default")
    asked = parser.parse_args()
    with on_core(LOAD_CORE):
        plain, scraped = asyncio.run(_measure(asked.rounds, asked.seconds, asked.engine))
    sys.stdout.write(reported(plain, scraped) + "\n")


def reported(plain: list[float], scraped: list[float]) -> str:
    """What was measured, and what it means at the interval of Prometheus."""
    lost = 1 - mean(scraped) / mean(plain)
    return (
        f"without scrapes {mean(plain):,.0f} requests/s, with one every {SCRAPE_SECONDS:g} s "
        f"{mean(scraped):,.0f}: {lost:.2%} less; at one every {PROMETHEUS_SECONDS:g} s "
        f"{lost * SCRAPE_SECONDS / PROMETHEUS_SECONDS:.2%}"
    )


async def _measure(rounds: int, seconds: int, engine: str | None) -> tuple[list[float], list[float]]:
    rates: tuple[list[float], list[float]] = ([], [])
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        async with (
            Emulator(states=states(system_now_ms())) as emulator,
            running(Sidecar(), emulator, folder, engine=engine) as server,
        ):
            await _load(server, 2, folder)  # warms it up
            for _ in range(rounds):
                rates[0].append(await _load(server, seconds, folder))
                async with _scraping(server):
                    rates[1].append(await _load(server, seconds, folder))
    return rates


async def _load(server: Server, seconds: int, folder: Path) -> float:
    load = await repeated(
        server.port,
        boolean(),
        connections=CONNECTIONS,
        in_flight=IN_FLIGHT,
        seconds=seconds,
        folder=folder,
    )
    return load.per_second


@asynccontextmanager
async def _scraping(server: Server) -> AsyncIterator[None]:
    task = asyncio.create_task(_scrape_for_ever(server))
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _scrape_for_ever(server: Server) -> None:
    assert server.sidecar is not None  # noqa: S101 - it is the sidecar that is scraped
    url = f"http://127.0.0.1:{server.sidecar.http_port}/metrics"
    # One client for all scrapes: making one takes time of the core that the load runs on.
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            (await client.get(url)).raise_for_status()
            await asyncio.sleep(SCRAPE_SECONDS)


if __name__ == "__main__":
    main()
