"""How many requests SIDECAR_HTTP_PORT answers, beside bare ASGI servers: `python -m bench.http_api`.

The servers have one processor, h2load the other; each is measured in turn, round by round, by HTTP/1.1 on
kept connections. A bare server answers everything with the very bytes of OFREP's single evaluation, so that
it shows what the server alone costs; those that are not installed are left out (`--servers` names them).
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import httpx

from bench.load import LoadFailed, from_h2load, run, tool
from bench.scenarios import Sidecar
from bench.servers import LOAD_CORE, SERVER_CORE, Server, on_core, running
from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from http_service.connect import PROTO
from http_service.messages import JSON, json_bytes
from http_service.ofrep import FLAGS

CONNECTIONS = 16
CONNECT = "/stigg.sidecar.v1.SidecarService/GetBooleanEntitlement"
CUSTOMER, FEATURE = "customer-demo", "feature-sso"
BARE = {
    "uvicorn": (
        "uvicorn",
        "bench.bare_asgi:app",
        "--fd",
        "{fd}",
        "--no-access-log",
        "--log-level",
        "critical",
    ),
    "hypercorn": ("hypercorn", "bench.bare_asgi:app", "--bind", "fd://{fd}"),
    "daphne": ("daphne", "bench.bare_asgi:app", "--fd", "{fd}", "-v", "0"),
    "granian": ("granian", "bench.bare_asgi:app", "--interface", "asgi", "--port", "{port}", "--no-log"),
}
"""How each is started: on a listener of ours, or (granian) on a port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, over and over."""

    name: str
    path: str
    body: bytes
    content_type: str = JSON


def requests() -> list[Asked]:
    """What the doors are asked."""
    context = json_bytes({"context": {"targetingKey": CUSTOMER}})
    message = pb.GetBooleanEntitlementRequest(customer_id=CUSTOMER, feature_id=FEATURE)
    asked = json_bytes({"customerId": CUSTOMER, "featureId": FEATURE})
    return [
        Asked(name="connect-json", path=CONNECT, body=asked),
        Asked(name="connect-proto", path=CONNECT, body=message.SerializeToString(), content_type=PROTO),
        Asked(name="ofrep-single", path=f"{FLAGS}/{FEATURE}", body=context),
        Asked(name="ofrep-bulk", path=FLAGS, body=context),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bed:
    """A server, and what it is asked."""

    server: Server
    port: int
    asked: Asked

    @property
    def name(self) -> str:
        """For the table."""
        return self.asked.name if self.server.name == "sidecar" else f"bare {self.server.name}"


@asynccontextmanager
async def bare(name: str, reply: bytes) -> AsyncIterator[Server]:
    """A bare server on the servers' processor."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = listener.getsockname()[1]
        words = [word.format(fd=listener.fileno(), port=port) for word in BARE[name][1:]]
        inherited: Sequence[int] = (listener.fileno(),)
        if "{fd}" not in "".join(BARE[name]):
            listener.close()
            inherited = ()
        with on_core(SERVER_CORE):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", BARE[name][0], *words),
                pass_fds=inherited,
                start_new_session=True,  # some have workers, which outlive them otherwise
                env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path), "REPLY": reply.hex()},
            )
        try:
            await _answers(port)
            yield Server(name=name, port=port, pid=process.pid)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _answers(port: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(20):
        while True:
            try:
                await client.get(f"http://127.0.0.1:{port}/")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


async def _reply(port: int, asked: Asked) -> bytes:
    """The answer, which must be a good one: what is measured is what callers get."""
    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{port}{asked.path}"
        response = await client.post(url, content=asked.body, headers={"Content-Type": asked.content_type})
    if not response.is_success or b"DEFAULT" in response.content:
        sys.exit(f"{asked.name} is answered wrongly: {response.status_code} {response.text[:200]}")
    return response.content


async def _measure(bed: Bed, *, seconds: int, folder: Path) -> tuple[float, float, float]:
    """Requests a second, processor time of a request (µs), and the 99th percentile (µs)."""
    body, log = folder / "body", folder / "h2load.log"
    body.write_bytes(bed.asked.body)
    log.unlink(missing_ok=True)
    before = bed.server.usage().cpu_seconds
    output = await run(
        tool(),
        *("--h1", "-c", str(CONNECTIONS), "-D", str(seconds), "-d", str(body), "--log-file", str(log)),
        *("-H", f"content-type: {bed.asked.content_type}"),
        f"http://127.0.0.1:{bed.port}{bed.asked.path}",
        seconds=seconds,
    )
    spent = bed.server.usage().cpu_seconds - before
    load = from_h2load(output, log.read_text(), seconds=seconds)
    return load.per_second, spent / load.requests * 1e6, load.p99_us


@asynccontextmanager
async def sidecar_with_http() -> AsyncIterator[tuple[Server, int, Path]]:
    """A sidecar on its processor, its SIDECAR_HTTP_PORT, and a folder; what is started within is the load."""
    async with AsyncExitStack() as stack:
        stack.enter_context(on_core(LOAD_CORE))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        emulator = await stack.enter_async_context(Emulator())
        settings = {"SIDECAR_HTTP_PORT": "0"}
        server = await stack.enter_async_context(
            running(Sidecar(settings=settings), emulator, folder, engine=None)
        )
        if server.sidecar is None:
            raise LoadFailed("the sidecar does not run")
        yield server, server.sidecar.api_port, folder


async def measured(names: Sequence[str], *, rounds: int, seconds: int) -> Mapping[str, list[float]]:
    """Medians of each, by name."""
    async with AsyncExitStack() as stack:
        sidecar, port, folder = await stack.enter_async_context(sidecar_with_http())
        asked = {each.name: each for each in requests()}
        replies = {name: await _reply(port, each) for name, each in asked.items()}
        single = asked["ofrep-single"]
        beds = [Bed(server=sidecar, port=port, asked=each) for each in asked.values()]
        for name in names:
            server = await stack.enter_async_context(bare(name, replies[single.name]))
            beds.append(Bed(server=server, port=server.port, asked=single))
        found: dict[str, list[tuple[float, float, float]]] = {bed.name: [] for bed in beds}
        for _ in range(rounds):
            for bed in beds:
                found[bed.name].append(await _measure(bed, seconds=seconds, folder=folder))
    return {name: [median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}


def _table(results: Mapping[str, list[float]]) -> str:
    base = results.get("bare uvicorn", [0.0])[0]
    lines = ["| answered | req/s | CPU µs | p99 µs | x bare uvicorn |", "|---|---|---|---|---|"]
    for name, (rate, cpu, p99) in results.items():
        ratio = f"{rate / base:.2f}" if base else ""
        lines.append(f"| {name} | {rate:,.0f} | {cpu:.0f} | {p99:,.0f} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    installed = [name for name in BARE if find_spec(name)]
    parser.add_argument("--servers", nargs="*", choices=BARE, default=installed, help="the bare ones")
    given = parser.parse_args()
    results = asyncio.run(measured(given.servers, rounds=given.rounds, seconds=given.seconds))
    sys.stdout.write(f"{_table(results)}\n")


if __name__ == "__main__":
    main()
