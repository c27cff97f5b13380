"""What gRPC's hits keep while SIDECAR_HTTP_PORT is flooded: `python -m bench.floods`.

The server has one processor; the load of hits, the flood and the emulator share the other. Each flood is
measured in turn beside the same load alone, round by round; what is printed are medians and their ratio.
`requests` is no attack but an application that asks as fast as it is answered: what it takes, it uses.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.http_api import CONNECT, sidecar_with_http
from bench.load import LoadFailed, repeated, tool
from bench.scenarios import boolean

CONNECTIONS = 64
GOOD = b'{"customerId": "customer-demo", "featureId": "feature-sso"}'
LARGE_BYTES = 8 * 1024 * 1024
"""Twice what a body may have."""
BEGIN_SECONDS = 1.0
"""A flood is at its height so much later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """One request, over and over, by many connections."""

    path: str = CONNECT
    body: bytes = b"{"


FLOODS: Mapping[str, Flood] = {
    "unreadable": Flood(),
    "no such path": Flood(path="/nowhere"),
    "large bodies": Flood(body=b" " * LARGE_BYTES),
    "requests": Flood(body=GOOD),
}


@asynccontextmanager
async def under(flood: Flood, port: int, folder: Path) -> AsyncIterator[None]:
    """While entered, the port is flooded."""
    body = folder / "flood"
    body.write_bytes(flood.body)
    process = await asyncio.create_subprocess_exec(
        tool(),
        *("--h1", "-c", str(CONNECTIONS), "-D", "600", "-d", str(body)),
        *("-H", "content-type: application/json", f"http://127.0.0.1:{port}{flood.path}"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await asyncio.sleep(BEGIN_SECONDS)
        if process.returncode is not None:
            message = f"the flood of {flood.path} ended by itself"
            raise LoadFailed(message)
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def measured(names: Sequence[str], *, rounds: int, seconds: int) -> Mapping[str, tuple[float, float]]:
    """Hits a second alone and beside each flood."""
    async with sidecar_with_http() as (server, api_port, folder):

        async def hits() -> float:
            load = await repeated(
                server.port, boolean(), connections=4, in_flight=8, seconds=seconds, folder=folder
            )
            return load.per_second

        found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        await hits()
        for _ in range(rounds):
            for name in names:
                alone = await hits()
                async with under(FLOODS[name], api_port, folder):
                    found[name].append((alone, await hits()))
    return {
        name: (median(alone for alone, _ in pairs), median(beside for _, beside in pairs))
        for name, pairs in found.items()
    }


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--floods", nargs="+", choices=FLOODS, default=list(FLOODS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    given = parser.parse_args()
    results = asyncio.run(measured(given.floods, rounds=given.rounds, seconds=given.seconds))
    lines = ["| flood | hits/s alone | beside it | ratio |", "|---|---|---|---|"]
    for name, (alone, beside) in results.items():
        lines.append(f"| {name} | {alone:,.0f} | {beside:,.0f} | {beside / alone:.2f} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
