"""The servers under load: started on a processor of their own, their time and memory read from the system."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import grpc
import psutil

import grpc_service
from bench.scenarios import Sidecar
from emulator.server import Emulator
from entitlements.metrics import SETTLE_SECONDS
from tests.harness import ROOT, SidecarProcess, environment_for, spawned
from tests.redis_server import RedisServer

SERVER_CORE = 0
LOAD_CORE = 1
"""The load, the emulator and Redis."""
TUNED = {"GRPC_EXPERIMENTS": grpc_service.EXPERIMENTS}
"""gRPC's core set up like the sidecar's."""
BARE = {"bare aio": ("aio", {}), "bare cq": ("cq", {}), "bare cq tuned": ("cq", TUNED)}
"""The bare servers by their names: the kind, and what it has in its environment."""


_OURS = frozenset(os.sched_getaffinity(0))
"""The processors that this process was given."""


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Whatever is started within runs on this processor alone, where it is ours."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} & _OURS or _OURS)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def spread(workers: Iterable[psutil.Process]) -> None:
    """Gives each a processor of its own as far as there are two; the load shares the second one's."""
    for worker, core in zip(workers, cycle((SERVER_CORE, LOAD_CORE))):
        for thread in worker.threads():
            os.sched_setaffinity(thread.id, {core} & _OURS or _OURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a server has used since it was started."""

    cpu_seconds: float
    """Processor time of all its processes."""
    rss_mb: float
    """Of all its processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One that listens."""

    name: str
    port: int
    pid: int
    sidecar: SidecarProcess | None = None
    settle_seconds: float = 0.0
    """What it counted is on its page of metrics after so long."""

    def usage(self) -> Usage:
        """As of now."""
        parent = psutil.Process(self.pid)
        family = [parent, *parent.children(recursive=True)]
        return Usage(
            cpu_seconds=sum(sum(process.cpu_times()[:2]) for process in family),
            rss_mb=sum(process.memory_info().rss for process in family) / 2**20,
        )


@asynccontextmanager
async def bare(name: str, reply: bytes) -> AsyncIterator[Server]:
    """A bare server that answers everything with `reply`."""
    kind, environment = BARE[name]
    with on_core(SERVER_CORE):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.bare", kind, reply.hex()),
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.defpath} | environment,
        )
    assert process.stdout is not None  # noqa: S101 - it was asked for
    try:
        port = int(await process.stdout.readline())
        yield Server(name=name, port=port, pid=process.pid)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def running(
    sidecar: Sidecar, emulator: Emulator, folder: Path, *, engine: str | None, tree: Path = ROOT
) -> AsyncIterator[Server]:
    """A sidecar that listens and follows the feed; of another tree of this project, too."""
    async with AsyncExitStack() as stack:
        settings = dict(sidecar.settings)
        if engine is not None:
            settings["SIDECAR_GRPC_ENGINE"] = engine
        if sidecar.has_redis:
            redis = stack.enter_context(RedisServer())
            settings |= {"REDIS_ENVIRONMENT_PREFIX": "bench", "REDIS_PORT": str(redis.port)}
        arguments = ["--workers", str(sidecar.workers)] if sidecar.workers > 1 else []
        with on_core(SERVER_CORE):
            process = await stack.enter_async_context(
                spawned(environment_for(emulator, folder, **settings), *arguments, tree=tree)
            )
        await process.started()
        await process.following()
        if sidecar.workers > 1:
            spread(psutil.Process(process.process.pid).children())
        yield Server(
            name="sidecar",
            port=process.grpc_port,
            pid=process.process.pid,
            sidecar=process,
            settle_seconds=2 * SETTLE_SECONDS if sidecar.workers > 1 else 0.0,
        )


@asynccontextmanager
async def channel_to(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    """A real client's connection."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel
