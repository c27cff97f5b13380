"""The cases of h2spec against both engines: `python -m tests.chaos.h2spec`, part of `make attacks`.

h2spec tries web servers: most of its cases wait for an answer to a GET of `/`, which no gRPC server gives.
So a bare gRPC server of the same core is tried as well; a case that fails at an engine and not there is ours.
Some cases end one way or the other by which frame comes first: what seems ours is tried again at both.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from xml.etree import ElementTree

import grpc

from grpc_service.server import ROOM_FOR_STREAMS
from tests.harness import running_sidecar

H2SPEC = os.environ.get("H2SPEC") or shutil.which("h2spec")
WHERE = "go install github.com/summerwind/h2spec/cmd/h2spec@latest"
CASE_SECONDS = 1
RUN_SECONDS = 400.0
STREAMS = 2 * 10_000 + ROOM_FOR_STREAMS
"""As many as a sidecar at its defaults: one case opens all of them, and one more."""
TRIES = 3
ENGINES = ("cq", "aio")


async def failed_at(port: int, *sections: str) -> tuple[int, frozenset[str]]:
    """How many cases were tried at that port, of some sections or of all, and which of them failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        process = await asyncio.create_subprocess_exec(
            *(str(H2SPEC), *sections, "-h", "127.0.0.1", "-p", str(port)),
            *("-o", str(CASE_SECONDS), "-j", str(report)),
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            await asyncio.wait_for(process.wait(), RUN_SECONDS)
        finally:
            if process.returncode is None:
                process.kill()
        return cases_of(report.read_text())


def cases_of(junit: str) -> tuple[int, frozenset[str]]:
    """The same, of a report."""
    cases = list(ElementTree.fromstring(junit).iter("testcase"))  # noqa: S314 - h2spec's own
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return len(cases), frozenset(f"{case.get('package')}: {case.get('classname')}" for case in failed)


@asynccontextmanager
async def bare_server() -> AsyncIterator[int]:
    """A gRPC server that has no method, and a bound of streams as ours."""
    server = grpc.aio.server(options=[("grpc.max_concurrent_streams", STREAMS)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@asynccontextmanager
async def sidecar(engine: str) -> AsyncIterator[int]:
    """A sidecar without a cloud."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {"OFFLINE": "1", "SIDECAR_GRPC_ENGINE": engine}
        async with running_sidecar(None, Path(folder), **variables) as process:
            yield process.grpc_port
            assert (await process.get("/livez")).is_success


def ours(failed: frozenset[str], bare: frozenset[str]) -> Sequence[str]:
    """The cases that a gRPC server need not fail."""
    return sorted(failed - bare)


async def main() -> int:
    """0 where no engine fails a case that the bare server does not."""
    if H2SPEC is None:
        _say(f"left out: h2spec is neither on the path nor named by H2SPEC ({WHERE})")
        return 0
    async with bare_server() as bare_port:
        tried, bare = await failed_at(bare_port)
        _say(f"bare gRPC server: {len(bare)} of {tried} cases failed")
        found = 0
        for engine in ENGINES:
            async with sidecar(engine) as port:
                tried, failed = await failed_at(port)
                _say(f"engine {engine}: {len(failed)} of {tried} cases failed")
                for case in await _always(ours(failed, bare), port, bare_port):
                    _say(f"    OURS {case}")
                    found += 1
    return int(found > 0)


async def _always(cases: Sequence[str], port: int, bare_port: int) -> Sequence[str]:
    """Those that fail each time here, and never there."""
    for _ in range(TRIES if cases else 0):
        sections = sorted({case.partition(": ")[0] for case in cases})
        _, failed = await failed_at(port, *sections)
        _, bare = await failed_at(bare_port, *sections)
        cases = ours(failed & frozenset(cases), bare)
    return cases


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
