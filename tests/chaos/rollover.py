"""What a roll-over costs the clients of strangers: `python -m tests.chaos.rollover`, or the tests beside it.

Two workers share a port, as two pods share a service; one after the other is ended by SIGTERM and started
again, while a client at its defaults calls without a pause. Go, Node and Java bring gRPC stacks of their own.
"""

import argparse
import asyncio
import base64
import json
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

import psutil

from grpc_service.generated import sidecar_pb2 as pb
from tests.harness import SidecarProcess, environment_for, spawned
from tests.redis_server import RedisServer
from tests.tls_files import NAME, TlsFolder

HERE = Path(__file__).resolve().parent / "strangers"
BUILT = Path(tempfile.gettempdir()) / "sidecar-strangers"
"""Where clients are built once."""
PATH = "/stigg.sidecar.v1.SidecarService/GetBooleanEntitlement"
REQUEST = base64.b64encode(
    pb.GetBooleanEntitlementRequest(customer_id="customer", feature_id="f").SerializeToString()
).decode()
BUILD_SECONDS = 400.0
CALL_SECONDS = 20
"""The deadline of a call: long enough for none to end for being slow on a busy machine."""
CALLERS = 16
RESTARTS = 4
START_SECONDS = 60.0


class Missing(Exception):
    """What the client is built with is not here, or cannot be had."""

    def __init__(self, stack: str, reason: str) -> None:
        super().__init__(stack, reason)
        self.stack = stack
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.stack}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One implementation of gRPC."""

    tools: Sequence[str]
    """Programs that must be there."""
    builds: Sequence[Sequence[str]]
    command: Sequence[str]


STACKS: Mapping[str, Stack] = {
    "c-core": Stack(tools=[], builds=[], command=[sys.executable, "stranger.py"]),
    "go": Stack(tools=["go"], builds=[["go", "build", "-o", "stranger", "."]], command=["./stranger"]),
    "node": Stack(
        tools=["node", "npm"],
        builds=[["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]],
        command=["node", "stranger.js"],
    ),
    "java": Stack(
        tools=["javac", "java", "mvn"],
        builds=[
            ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs"],
            ["javac", "-cp", "libs/*", "-d", "classes", "Stranger.java"],
        ],
        command=["java", "-cp", "classes:libs/*", "Stranger"],
    ),
}


async def build(name: str) -> Path:
    """The folder in which a stack's client can be run.

    Raises:
        Missing: it cannot be built here.
    """
    stack = STACKS[name]
    missing = [tool for tool in stack.tools if shutil.which(tool) is None]
    if missing:
        raise Missing(name, f"no {', '.join(missing)} here")
    sources = "".join(source.read_text() for source in sorted(HERE.iterdir()) if source.is_file())
    folder = BUILT / f"{name}-{sha256(sources.encode()).hexdigest()[:12]}"
    mark = folder / "built"
    if mark.exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE, folder)
    for command in stack.builds:
        code, report = await _run(command, folder)
        if code != 0:
            raise Missing(name, f"{' '.join(command[:2])} failed: {report[-300:]}")
    mark.touch()
    return folder


async def _run(command: Sequence[str], folder: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        report, _ = await asyncio.wait_for(process.communicate(), BUILD_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return 1, f"not done within {BUILD_SECONDS:g} s"
    return process.returncode or 0, report.decode(errors="replace")


@asynccontextmanager
async def calling(
    name: str,
    folder: Path,
    port: int,
    *,
    authority: Path | None = None,
    request: str = REQUEST,
    manner: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[asyncio.subprocess.Process]:
    """While entered, its callers call; the manner is given by variables (strangers/)."""
    usual = {"CALLERS": str(CALLERS), "CALL_SECONDS": str(CALL_SECONDS)}
    environment = {**os.environ, **usual, **manner}
    if authority is not None:
        environment |= {"CA_FILE": str(authority), "SERVER_NAME": NAME}
    process = await asyncio.create_subprocess_exec(
        *STACKS[name].command,
        *(f"127.0.0.1:{port}", PATH, request),
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            assert await process.stdout.readline() == b"calling\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def statuses(
    name: str, folder: Path, *, tls: bool, engine: str, restarts: int = RESTARTS
) -> Counter[str]:
    """How many calls of a client ended with each status, over so many restarts."""
    client_folder = await build(name)
    keys = TlsFolder(folder)
    authority = folder / "authority.pem"
    keys.authority.cert_pem.write_to_path(authority)
    with RedisServer() as redis:
        environment = environment_for(
            None,
            folder / "data",
            OFFLINE="1",
            REDIS_ENVIRONMENT_PREFIX="p",
            REDIS_PORT=str(redis.port),
            SIDECAR_GRPC_ENGINE=engine,
            PORT="0",
            **(keys.variables if tls else {}),
        )
        async with spawned(environment, "--workers=2") as sidecar:
            await _listening(sidecar, 2)
            port = _tls_port(sidecar) if tls else sidecar.grpc_port
            async with calling(name, client_folder, port, authority=authority if tls else None) as client:
                for number in range(restarts):
                    await _listening(sidecar, 2 + number)
                    await _end_the_older(sidecar)
                report, errors = await asyncio.wait_for(client.communicate(b""), 2 * CALL_SECONDS)
            for line in sorted(set(errors.decode().splitlines()))[:5]:
                sys.stderr.write(f"    {line}\n")
            return Counter(json.loads(report.decode().splitlines()[-1]))


def _tls_port(sidecar: SidecarProcess) -> int:
    words = "gRPC over TLS on port "
    return int(sidecar.output.partition(words)[2].split()[0].rstrip(","))


async def _listening(sidecar: SidecarProcess, times: int) -> None:
    if not sidecar.grpc_port:
        await sidecar.started()
    async with asyncio.timeout(START_SECONDS):
        while sidecar.output.count("listening: ") < times:  # noqa: ASYNC110 - lines come as they come
            await asyncio.sleep(0.05)


async def _end_the_older(sidecar: SidecarProcess) -> None:
    """Of the two workers; another is started in its place."""
    workers = psutil.Process(sidecar.process.pid).children()
    older = min(workers, key=psutil.Process.create_time)
    older.send_signal(signal.SIGTERM)
    async with asyncio.timeout(START_SECONDS):
        while older.is_running():  # noqa: ASYNC110 - it is no child of ours
            await asyncio.sleep(0.05)


async def main(arguments: Sequence[str]) -> int:
    """Measures all stacks, or those named; 0 where no call failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.rollover", description=__doc__)
    parser.add_argument("stacks", nargs="*", choices=[[], *STACKS], help="all unless named")
    parser.add_argument("--engine", choices=["cq", "aio"], default="cq")
    parser.add_argument("--tls", action="store_true", help="by TLS_CERT_FILE's port")
    options = parser.parse_args(arguments)
    failed = 0
    for name in options.stacks or STACKS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                counts = await statuses(name, Path(folder), tls=options.tls, engine=options.engine)
            except Missing as missing:
                sys.stdout.write(f"left out: {missing}\n")
                continue
        failed += counts.total() - counts["OK"]
        sys.stdout.write(f"{name:8} {dict(counts)}\n")
        sys.stdout.flush()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
