"""The processes: a cloud, a Redis, and two instances of two workers each, with a line of its own for each."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil

from tests.chaos.cloud import CloudProcess
from tests.chaos.network import Namespace, a_namespace
from tests.chaos.proxy import TcpProxy
from tests.chaos.records import Resources
from tests.harness import CALL_SECONDS, SidecarProcess, environment_for, spawned
from tests.redis_server import RedisServer

INSTANCES = ("a", "b")
WORKERS = 2
READY_SECONDS = 60.0
LOOKS_AT_PARTS = 12
TASKS_SECONDS = 1.1
"""A worker counts its tasks at least so often."""
DISK_BYTES = 16 * 1024 * 1024
FETCH_BUDGET_SECONDS = 1.0
KILLED = '"exit_code": -9'
"""How the log says a worker's death by our own hand."""
QUIET_PORTS = range(15_000, 30_000)
"""Ports that no outgoing connection is given, so that a dead process finds its own free again."""
CLOCK_FOLDER = Path(__file__).parent / "clock"
SHORT_WAITS = {
    "REDIS_ENVIRONMENT_PREFIX": "weather",
    "SIDECAR_OUTBOX": "all",
    "SIDECAR_FETCH_BUDGET_SECONDS": str(FETCH_BUDGET_SECONDS),
    "SIDECAR_FEED_PING_SECONDS": "1",
    "SIDECAR_FEED_IDLE_TIMEOUT_SECONDS": "2",
    "SIDECAR_MAX_UNVERIFIED_SECONDS": "5",
    "SIDECAR_SHUTDOWN_GRACE_SECONDS": "5",
    "SIDECAR_DRAIN_SECONDS": "1",
    "CACHE_MAX_SIZE_BYTES": str(64 * 1024 * 1024),
    "LOG_LEVEL": "warn",
}
"""A run is short, so what is waited for is, too."""


class Instance:
    """One `runsidecar --workers 2` on ports that stay its own."""

    def __init__(self, name: str, environment: Mapping[str, str], space: Namespace | None = None) -> None:
        self.name = name
        self._host = "127.0.0.1" if space is None else space.address
        self._prefix = () if space is None else space.prefix
        self.port = quiet_port()
        self._environment = {
            **environment,
            "GRPC_PORT": str(self.port),
            "METRICS_PORT": str(quiet_port()),
            "SIDECAR_LISTEN_HOST": self._host,
        }
        self._stack = AsyncExitStack()
        self._sidecar: SidecarProcess | None = None
        self._deaths: list[str] = []
        self._read = 0

    @property
    def address(self) -> str:
        """host:port of its gRPC listener."""
        return f"{self._host}:{self.port}"

    @property
    def sidecar(self) -> SidecarProcess:
        """The parent process."""
        assert self._sidecar is not None
        return self._sidecar

    async def start(self) -> None:
        """Returns once both workers listen."""
        self._sidecar = await self._stack.enter_async_context(
            spawned(self._environment, f"--workers={WORKERS}", prefix=self._prefix)
        )
        self._read = 0
        await self._sidecar.started()
        await self.listening(WORKERS)

    async def listening(self, times: int) -> None:
        """Returns once workers have begun to listen so many times since the parent started."""
        async with asyncio.timeout(READY_SECONDS):
            while self.times_listening() < times:  # noqa: ASYNC110 - other processes tell no events
                await asyncio.sleep(0.05)

    def times_listening(self) -> int:
        """How often a worker has begun to listen."""
        return sum("listening: " in line for line in self.sidecar.lines)

    async def stop(self) -> None:
        """Drains it, as a roll-out does; an exit code other than 0 is a death."""
        code = await self.sidecar.stop()
        if code != 0:
            self._deaths += [f"{self.name} ended with {code}", *self.sidecar.lines[-20:]]
        self._note_deaths()
        await self._stack.aclose()

    def take_deaths(self) -> list[str]:
        """What is known of processes that ended and should not have, since it was asked last."""
        self._note_deaths()
        deaths, self._deaths = self._deaths, []
        return deaths

    def _note_deaths(self) -> None:
        lines = self.sidecar.lines[self._read :]
        self._read += len(lines)
        self._deaths += [line for line in lines if "a worker ended" in line and KILLED not in line]

    async def kill(self) -> None:
        """Ends all its processes without a word."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        await self._stack.aclose()

    def pause(self) -> None:
        """All its processes keep what they have and do nothing."""
        self._signal(signal.SIGSTOP, self.processes())

    def resume(self) -> None:
        """They go on."""
        self._signal(signal.SIGCONT, self.processes())

    async def tasks(self) -> float:
        """How many tasks stand on its event loops."""
        page = (await self._get("/metrics")).text
        return sum(
            float(line.split()[-1])
            for line in page.splitlines()
            if line.startswith("sidecar_event_loop_tasks ")
        )

    async def parts(self) -> list[dict[str, Any]]:
        """What its workers say of their parts; each connection may reach another one."""
        by_process: dict[int, dict[str, Any]] = {}
        for _ in range(LOOKS_AT_PARTS):
            said = (await self._get("/readyz?verbose")).json()
            by_process[said["pid"]] = said
        return list(by_process.values())

    async def _get(self, path: str) -> httpx.Response:
        """By a connection of its own."""
        async with httpx.AsyncClient(trust_env=False, timeout=CALL_SECONDS) as client:
            return await client.get(f"http://{self._host}:{self.sidecar.http_port}{path}")

    def workers(self) -> list[psutil.Process]:
        """The processes that answer."""
        return self.processes()[1:]

    def processes(self) -> list[psutil.Process]:
        """The parent and the workers."""
        try:
            parent = psutil.Process(self.sidecar.process.pid)
            return [parent, *parent.children()]
        except psutil.NoSuchProcess:
            return []

    def _signal(self, number: signal.Signals, processes: list[psutil.Process]) -> None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


class Machine:
    """All processes, running while entered; what the computer cannot do is told by `cannot`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cloud = CloudProcess()
        aof = ("--appendonly", "yes", "--appendfsync", "always", "--dir", str(folder))
        self.redis = RedisServer(*aof, "--maxmemory-policy", "noeviction")
        self.redis.port = quiet_port()
        self.instances: dict[str, Instance] = {}
        self.cloud_lines: dict[str, TcpProxy] = {}
        self.redis_lines: dict[str, TcpProxy] = {}
        self.spaces: dict[str, Namespace] = {}
        """The instances that live in a network of their own."""
        self.cannot: dict[str, str] = {}
        """Faults that are left out here, and why."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        await self._stack.enter_async_context(self.cloud)
        self._stack.enter_context(self.redis)
        space = self._stack.enter_context(a_namespace())
        if isinstance(space, str):
            self.cannot["packets dropped"] = space
        else:
            self.spaces[INSTANCES[-1]] = space
        for name in INSTANCES:
            host = self.spaces[name].host_address if name in self.spaces else "127.0.0.1"
            for lines, port in ((self.cloud_lines, self.cloud.port), (self.redis_lines, self.redis.port)):
                lines[name] = await self._stack.enter_async_context(TcpProxy(port, host=host))
            self._stack.enter_context(self._disk(name))
            self.instances[name] = Instance(name, self._environment(name), self.spaces.get(name))
        for instance in self.instances.values():
            self._stack.push_async_callback(instance.kill)
        await asyncio.gather(*(instance.start() for instance in self.instances.values()))

    def data_dir(self, name: str) -> Path:
        """The instance's folder, small where the computer allows it."""
        return self.folder / f"data-{name}"

    def clock_file(self, name: str) -> Path:
        """Holds by how much the instance's wall clock is wrong (clock/sitecustomize.py)."""
        return self.folder / f"clock-{name}"

    def set_clock(self, name: str, *, wrong_by_seconds: int) -> None:
        """Let the instance's wall clock jump."""
        file = self.clock_file(name)
        with file.open("r+b" if file.exists() else "w+b") as clock:
            clock.write(struct.pack("=q", wrong_by_seconds * 1_000_000_000))

    def _environment(self, name: str) -> dict[str, str]:
        cloud, redis = self.cloud_lines[name], self.redis_lines[name]
        variables = SHORT_WAITS | {
            "SERVER_API_KEY": self.cloud.api_key,
            "API_URL": f"http://{cloud.host}:{cloud.port}",
            "EDGE_API_URL": f"http://{cloud.host}:{cloud.port}",
            "WS_URL": f"ws://{cloud.host}:{cloud.port}",
            "REDIS_HOST": redis.host,
            "REDIS_PORT": str(redis.port),
        }
        self.set_clock(name, wrong_by_seconds=0)
        variables |= {"PYTHONPATH": str(CLOCK_FOLDER), "WEATHER_CLOCK_FILE": str(self.clock_file(name))}
        return environment_for(None, self.data_dir(name), **variables)

    @contextlib.contextmanager
    def _disk(self, name: str) -> Iterator[None]:
        folder = self.data_dir(name)
        folder.mkdir(parents=True, exist_ok=True)
        mount = shutil.which("mount")
        size = f"size={DISK_BYTES}"
        command = [mount or "", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
        if mount is None or os.geteuid() != 0 or subprocess.run(command, check=False).returncode != 0:  # noqa: S603
            self.cannot["disk full"] = "a small tmpfs needs root and mount"
            yield
            return
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=False)  # noqa: S603, S607

    async def tasks(self) -> float:
        """How many tasks stand on all event loops, as counted within the last second."""
        await asyncio.sleep(TASKS_SECONDS)
        return sum([await instance.tasks() for instance in self.instances.values()])

    def measure(self) -> Resources:
        """What all instances use at this moment."""
        cloud_ports = {line.port for line in self.cloud_lines.values()}
        redis_ports = {line.port for line in self.redis_lines.values()}
        processes = [each for instance in self.instances.values() for each in instance.processes()]
        rss, fds, threads, sockets = [0], 0, 0, [0, 0, 0]
        for process in processes:
            with contextlib.suppress(psutil.Error):
                rss.append(process.memory_info().rss)
                fds += process.num_fds()
                threads += process.num_threads()
                for connection in process.net_connections("inet"):
                    port = getattr(connection.raddr, "port", 0)
                    sockets[1 if port in cloud_ports else 2 if port in redis_ports else 0] += 1
        return Resources(
            at=time.monotonic(),
            processes=len(processes),
            rss_bytes=sum(rss),
            largest_rss_bytes=max(rss),
            fds=fds,
            threads=threads,
            client_sockets=sockets[0],
            cloud_sockets=sockets[1],
            redis_sockets=sockets[2],
        )


def quiet_port() -> int:
    """A port that nobody listens on, nor is given by chance."""
    dice = random.SystemRandom()
    while True:
        port = dice.choice(QUIET_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
