"""Many customers at once whom nobody asked about before: `python -m bench.crowd`.

All of them must be answered, none by a fallback, and no breaker may open; beside a cloud that hangs, cached
checks on the same connection must be answered as ever. The server has a processor to itself; load and cloud
share the other, so how long it takes says little.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from bench.customers import state_with
from bench.scenarios import Sidecar
from bench.servers import LOAD_CORE, Server, on_core, running
from emulator.dates import system_now_ms
from emulator.server import Emulator
from emulator.usage import Json, Scope
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.generated import sidecar_pb2_grpc as pb_grpc
from tests.harness import ROOT

if TYPE_CHECKING:
    Client: TypeAlias = pb_grpc.SidecarServiceAsyncStub
else:
    Client = pb_grpc.SidecarServiceStub

ENGINES = ("cq", "aio")
MOST_SECONDS = 120.0
CROWD = 10_000
BURST = 3_000
WAITING = 2_000
HITS = 2_000
KNOWN = "known"
SETTLE_SECONDS = 1.0
FALLBACK = "fallback"
RIGHT = "right"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """So many customers on so many channels, the cloud so far away."""

    customers: int
    channels: int
    cloud_ms: int


CROWDS = (
    Crowd(customers=BURST, channels=1, cloud_ms=0),
    Crowd(customers=BURST, channels=10, cloud_ms=0),
    Crowd(customers=CROWD, channels=10, cloud_ms=20),
    Crowd(customers=CROWD, channels=10, cloud_ms=300),
)


def customer(number: int) -> str:
    """One of the crowd."""
    return f"crowd-{number}"


async def outcome(client: Client, customer_id: str) -> str:
    """What became of a check: `right`, `fallback`, or its status."""
    request = pb.GetBooleanEntitlementRequest(customer_id=customer_id, feature_id="feature-boolean")
    try:
        answer = await client.GetBooleanEntitlement(request, timeout=MOST_SECONDS)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return FALLBACK if answer.is_fallback else RIGHT


@asynccontextmanager
async def _served(emulator: Emulator, engine: str, tree: Path) -> AsyncIterator[Server]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with running(Sidecar(), emulator, Path(folder), engine=engine, tree=tree) as server:
            yield server


@asynccontextmanager
async def clients(port: int, channels: int) -> AsyncIterator[list[Client]]:
    """One on each of so many connections."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as stack:
        opened = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(channels)]
        yield [Client(await stack.enter_async_context(channel)) for channel in opened]


async def _load(port: int, *numbers: int) -> dict[str, int] | list[float]:
    if len(numbers) == 1:
        return await hits_beside(port, waiting=numbers[0])
    channels, customers = numbers
    return await load(port, channels=channels, customers=customers)


async def load(port: int, *, channels: int, customers: int) -> dict[str, int]:
    """All of the crowd at once: how many had which outcome."""
    async with clients(port, channels) as asked:
        return Counter(
            await asyncio.gather(
                *(outcome(asked[each % channels], customer(each)) for each in range(customers))
            )
        )


async def hits_beside(port: int, *, waiting: int) -> list[float]:
    """Seconds that cached checks take, one after the other, on the connection where so many others wait."""
    async with clients(port, 1) as (client,):
        waits = [asyncio.create_task(outcome(client, customer(each))) for each in range(waiting)]
        await asyncio.sleep(SETTLE_SECONDS)
        seconds = []
        for _ in range(HITS):
            began = time.perf_counter()
            await outcome(client, KNOWN)
            seconds.append(time.perf_counter() - began)
        still = sum(not each.done() for each in waits)
        for each in waits:
            each.cancel()
    return [float(still), *seconds]


async def _loaded(*arguments: str) -> Any:
    """What a load in a process of its own reports: it must not keep the cloud from answering."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.crowd", "--load", *arguments), stdout=asyncio.subprocess.PIPE
    )
    reported, _ = await process.communicate()
    return json.loads(reported)


def _breakers_opened(server: Server) -> int:
    assert server.sidecar is not None  # noqa: S101 - it is one
    return sum("circuit breaker opened" in line for line in server.sidecar.lines)


async def crowded(emulator: Emulator, engine: str, crowd: Crowd, tree: Path) -> bool:
    """All at once; True when all is right."""
    emulator.faults.clear()
    if crowd.cloud_ms:
        for transport in ("edge", "graphql"):
            emulator.faults.set(transport, "slow", delay_ms=crowd.cloud_ms)
    async with _served(emulator, engine, tree) as server:
        began = time.perf_counter()
        reported = await _loaded(str(server.port), str(crowd.channels), str(crowd.customers))
        seconds = time.perf_counter() - began
        opened = _breakers_opened(server)
    _say(f"{engine} {crowd} {reported} breakers opened {opened}, {seconds:.1f} s")
    return bool(reported == {RIGHT: crowd.customers} and not opened)


async def beside_a_cloud_that_hangs(emulator: Emulator, engine: str, tree: Path) -> bool:
    """Cached checks one after the other on the connection where thousands wait."""
    emulator.faults.clear()
    async with _served(emulator, engine, tree) as server:
        _, *quiet = await _loaded(str(server.port), "0")
        for transport in ("edge", "graphql"):
            emulator.faults.set(transport, "hang")
        still, *seconds = await _loaded(str(server.port), str(WAITING))
    _say(
        f"{engine} hits beside a cloud that hangs: p50 {statistics.median(seconds) * 1e3:.2f} ms, "
        f"p99 {_p99(seconds) * 1e3:.2f} ms (quiet {_p99(quiet) * 1e3:.2f} ms), "
        f"{still:.0f} of {WAITING} waited all the while"
    )
    return True


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program of its own


async def _all(engines: list[str], tree: Path) -> bool:
    state = state_with(10, now_ms=system_now_ms())
    states: dict[Scope, Json] = {(customer(number), None): state for number in range(CROWD)}
    states[KNOWN, None] = state
    async with Emulator(states=states) as emulator:
        right = True
        for engine in engines:
            for crowd in CROWDS:
                right &= await crowded(emulator, engine, crowd, tree)
            right &= await beside_a_cloud_that_hangs(emulator, engine, tree)
        return right


def main() -> None:
    """Measures and prints; ends with 1 when an answer was not right."""
    parser = argparse.ArgumentParser(prog="python -m bench.crowd", description=__doc__)
    parser.add_argument("--engine", choices=ENGINES, action="append", help="both unless named")
    parser.add_argument("--load", type=int, nargs="+", help="the load alone: port and numbers")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the server's")
    asked = parser.parse_args()
    if asked.load is not None:
        _say(json.dumps(asyncio.run(_load(*asked.load))))
        return
    with on_core(LOAD_CORE):
        is_right = asyncio.run(_all(asked.engine or list(ENGINES), asked.tree.resolve()))
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
