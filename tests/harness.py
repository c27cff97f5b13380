"""The real thing for tests: a sidecar in a process of its own, asked over real sockets."""

import asyncio
import json
import os
import re
import signal
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import httpx

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.generated.sidecar_pb2_grpc import SidecarServiceStub
from tests.fork_server import Process, can_fork, fork

if TYPE_CHECKING:
    from grpc_service.generated.sidecar_pb2_grpc import SidecarServiceAsyncStub

    Client: TypeAlias = SidecarServiceAsyncStub
else:
    Client = SidecarServiceStub  # one class serves both; only its type knows the difference

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 60.0
CALL_SECONDS = 15.0
DATABASE_FILE = "sidecar.sqlite3"
NO_BALANCER = {"SIDECAR_DRAIN_SECONDS": "0"}
"""Nobody learns late of a stop, who would have to be waited for."""
NO_AUDITS = {"SIDECAR_AUDITS_PER_MINUTE": "0"}
"""An audit asks the cloud when its turn comes: what a test counts would depend on how long it takes."""
_MEASURED = "COVERAGE_PROCESS_CONFIG"
_LAST_WORD = signal.SIGTERM if _MEASURED in os.environ else signal.SIGKILL
"""`make coverage` needs a process to end by itself: what it counted is written at its end."""
_API_PORT = re.compile(r"HTTP for applications on port (\d+)")
_PORTS = re.compile(r"HTTP on port (\d+), gRPC on port (\d+)")
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def http_client(**options: Any) -> httpx.AsyncClient:
    """For plain HTTP on this machine: httpx' own reads all authorities each time, 35 ms of CPU."""
    usual: dict[str, Any] = {"trust_env": False, "verify": _NO_TLS, "timeout": START_SECONDS}
    return httpx.AsyncClient(**usual | options)


def environment_for(emulator: Emulator | None, data_dir: Path, **variables: str) -> dict[str, str]:
    """A sidecar's environment: nothing of this machine's but what a process needs."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", _MEASURED, "SIDECAR_GRPC_ENGINE")
        if name in os.environ
    }
    cloud = {}
    if emulator is not None:
        cloud = {
            "SERVER_API_KEY": emulator.api_key,
            "API_URL": emulator.url,
            "EDGE_API_URL": emulator.edge_url,
            "WS_URL": emulator.ws_url,
        }
    ports = {"GRPC_PORT": "0", "METRICS_PORT": "0", "SIDECAR_LISTEN_HOST": "127.0.0.1"}
    usual = {"SIDECAR_DATA_DIR": str(data_dir), "LOG_LEVEL": "info"} | NO_BALANCER | NO_AUDITS
    return kept | cloud | ports | usual | variables


class SidecarProcess:
    """A running `manage.py runsidecar`."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.grpc_port = 0
        self.http_port = 0
        self.api_port = 0
        """Of SIDECAR_HTTP_PORT, where that is set."""
        self._arrived = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    @property
    def output(self) -> str:
        """All that it printed so far."""
        return "".join(self.lines)

    @property
    def address(self) -> str:
        """host:port of its gRPC listener."""
        return f"127.0.0.1:{self.grpc_port}"

    async def started(self) -> None:
        """Returns once it listens."""
        line = await self.printed("listening: ")
        found = _PORTS.search(line)
        assert found, line
        self.http_port, self.grpc_port = int(found[1]), int(found[2])
        if api := _API_PORT.search(line):
            self.api_port = int(api[1])

    async def printed(self, words: str, *, seconds: float = START_SECONDS) -> str:
        """The first line that holds these words."""
        async with asyncio.timeout(seconds), self._arrived:
            await self._arrived.wait_for(lambda: words in self.output or self._reader.done())
        assert words in self.output, f"ended without {words!r}:\n{self.output}"
        return next(line for line in self.lines if words in line)

    async def get(self, path: str) -> httpx.Response:
        """An answer of its HTTP port."""
        async with http_client() as client:
            return await client.get(f"http://127.0.0.1:{self.http_port}{path}")

    async def parts(self) -> dict[str, Any]:
        """The state of each part."""
        parts: dict[str, Any] = (await self.get("/readyz?verbose")).json()["parts"]
        return parts

    async def following(self, *, seconds: float = START_SECONDS) -> None:
        """Returns once it follows the feed."""
        async with asyncio.timeout(seconds):
            while not (await self.parts())["feed"]["following"]:  # noqa: ASYNC110 - HTTP announces no events
                await asyncio.sleep(0.02)

    async def metric(self, name: str) -> float:
        """One sample of /metrics, by its name with labels as printed; 0 when absent."""
        for line in (await self.get("/metrics")).text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.ended(after=number.name)

    async def ended(self, *, seconds: float = STOP_SECONDS, after: str = "its start") -> int:
        """The exit code, once all that it printed is there."""
        try:
            code = await asyncio.wait_for(self.process.wait(), seconds)
        except TimeoutError:
            message = f"it did not end within {seconds} s of {after}:\n{self.output}"
            raise AssertionError(message) from None
        await self._reader
        return code

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._arrived:
                self.lines.append(line.decode())
                self._arrived.notify_all()
        async with self._arrived:
            self._arrived.notify_all()


@asynccontextmanager
async def spawned(
    environment: Mapping[str, str],
    *arguments: str,
    command: str = "runsidecar",
    prefix: Sequence[str] = (),
    tree: Path | None = None,
) -> AsyncIterator[SidecarProcess]:
    """A process of `manage.py`, killed when left; `prefix` is a command that runs it.

    With a `tree`, perhaps of another commit, it gets an interpreter of its own: that in the tree's `.venv`,
    where there is one.
    """
    process: Process
    if tree is None and not prefix and can_fork(environment):
        process = await fork(environment, [command, *arguments])
    else:
        tree = tree or ROOT
        python = tree / ".venv/bin/python"
        process = await asyncio.create_subprocess_exec(
            *prefix,
            str(python) if python.exists() else sys.executable,
            str(tree / "manage.py"),
            command,
            *arguments,
            env=dict(environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=1024 * 1024,
        )
    sidecar = SidecarProcess(process)
    try:
        yield sidecar
    finally:
        if process.returncode is None:
            process.send_signal(_LAST_WORD)
        await process.wait()
        await sidecar.stop()


@asynccontextmanager
async def running_sidecar(
    emulator: Emulator | None, data_dir: Path, **variables: str
) -> AsyncIterator[SidecarProcess]:
    """A sidecar that listens, on ports of its own."""
    if "DATABASE_URL" not in variables:
        if not _new_database:
            await _make_new_database()
        _place_database(data_dir)
    async with spawned(environment_for(emulator, data_dir, **variables)) as sidecar:
        await sidecar.started()
        yield sidecar


_new_database: list[bytes] = []
"""The bytes of a database with its tables made, once somebody needed them."""


async def _make_new_database() -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = environment_for(None, Path(folder), OFFLINE="1")
        async with spawned(environment, "--verbosity=0", command="migrate") as migrate:
            assert 0 == await migrate.ended(), migrate.output
        _new_database.append((Path(folder) / DATABASE_FILE).read_bytes())


def _place_database(data_dir: Path) -> None:
    """Makes the tables, for which a start needs half its time; who wants to see them made uses `spawned`."""
    file = data_dir / DATABASE_FILE
    if file.exists() or (data_dir.exists() and not os.access(data_dir, os.W_OK)):
        return
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(_new_database[0])


@asynccontextmanager
async def client_of(sidecar: SidecarProcess) -> AsyncIterator[Client]:
    """A grpcio client."""
    async with client_at(sidecar.address) as client:
        yield client


@asynccontextmanager
async def client_at(address: str) -> AsyncIterator[Client]:
    """The same, of host:port."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield Client(channel)


async def is_granted(client: Client, customer_id: str, feature_id: str = "f") -> bool:
    """One Boolean check that was not answered by a fallback."""
    answer = await check(client, customer_id, feature_id)
    assert not answer.is_fallback, answer
    return bool(answer.has_access)


async def check(client: Client, customer_id: str, feature_id: str = "f") -> pb.GetBooleanEntitlementResponse:
    """One Boolean check."""
    request = pb.GetBooleanEntitlementRequest(customer_id=customer_id, feature_id=feature_id)
    return await client.GetBooleanEntitlement(request, timeout=CALL_SECONDS)


async def until_answered(client: Client, customer_id: str, *, seconds: float = START_SECONDS) -> None:
    """Returns once a check is not answered by a fallback any more, after the pause of the circuit."""
    async with asyncio.timeout(seconds):
        while (await check(client, customer_id)).is_fallback:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def usage_of(client: Client, customer_id: str, feature_id: str = "m") -> float:
    """The current usage of a metered feature, not answered by a fallback."""
    request = pb.GetMeteredEntitlementRequest(customer_id=customer_id, feature_id=feature_id)
    answer = await client.GetMeteredEntitlement(request, timeout=CALL_SECONDS)
    assert not answer.is_fallback, answer
    return float(answer.entitlement.current_usage)


def json_lines(output: str) -> list[dict[str, Any]]:
    """The log lines of an output."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]
