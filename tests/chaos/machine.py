"""The processes of a world: a cloud, a Redis, and two instances with a line of its own for each."""

import asyncio
import contextlib
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.chaos.cloud import CloudProcess
from tests.chaos.instance import Instance, Ports, quiet_port
from tests.chaos.left_open import CLIENT, PEER, Connection, counted
from tests.chaos.network import Namespace, a_namespace
from tests.chaos.proxy import TcpProxy
from tests.chaos.records import Resources
from tests.chaos.stores import ONE_SERVER, PREFIX
from tests.chaos.worlds import World
from tests.harness import environment_for

INSTANCES = ("a", "b")
TASKS_SECONDS = 1.1
"""A worker counts its tasks at least so often."""
EDGE_BUDGET = "SIDECAR_EDGE_REQUESTS_PER_MINUTE"
DEFAULT_EDGE_PER_MINUTE = 5_400
DISK_BYTES = 16 * 1024 * 1024
FETCH_BUDGET_SECONDS = 1.0
CLOCK_FOLDER = Path(__file__).parent / "clock"
SHORT_WAITS = {
    "REDIS_ENVIRONMENT_PREFIX": PREFIX,
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


class Machine:
    """All processes, running while entered; what the computer cannot do is reported by `cannot`."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.world = world
        self.cloud = CloudProcess()
        self.store = world.store(folder, quiet_port())
        self.fleet_turn = asyncio.Lock()
        """What is done to a Redis of several servers takes as long as they need: one after the other."""
        self.ports = {name: Ports() for name in INSTANCES}
        self.lanes = [lane(self) for lane in world.lanes]
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
        self._stack.enter_context(self.store)
        if ONE_SERVER in self.world.offers and not self.lanes:
            space = self._stack.enter_context(a_namespace())
        else:
            space = "what is not reached by a line would not be reached from a network namespace"
        if isinstance(space, str):
            self.cannot["packets dropped"] = space
        else:
            self.spaces[INSTANCES[-1]] = space
        for name in INSTANCES:
            host = self.spaces[name].host_address if name in self.spaces else "127.0.0.1"
            redis_port = self.store.primary.port
            for lines, port in ((self.cloud_lines, self.cloud.port), (self.redis_lines, redis_port)):
                lines[name] = await self._stack.enter_async_context(TcpProxy(port, host=host))
            self._stack.enter_context(self._disk(name))
            self.instances[name] = Instance(
                name,
                self._environment(name),
                ports=self.ports[name],
                workers=self.world.workers,
                space=self.spaces.get(name),
            )
        for instance in self.instances.values():
            self._stack.push_async_callback(instance.kill)
        await asyncio.gather(*(instance.start() for instance in self.instances.values()))

    @property
    def edge_per_minute(self) -> float:
        """The bound that the sidecars are given."""
        return float(self.world.variables.get(EDGE_BUDGET, DEFAULT_EDGE_PER_MINUTE))

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
            **(self.store.variables or {"REDIS_HOST": redis.host, "REDIS_PORT": str(redis.port)}),
            **self.world.variables,
        }
        for lane in self.lanes:
            variables |= lane.variables(name)
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

    def pids(self) -> Sequence[int]:
        """Of all that takes part: the clients, the sidecars, their Redis and their cloud."""
        sidecars = [each.pid for instance in self.instances.values() for each in instance.processes()]
        redis = [each.pid for each in self.store.servers if each.is_running]
        return [os.getpid(), self.cloud.pid, *redis, *sidecars]

    def measure(self) -> Resources:
        """What all instances use at this moment."""
        processes = [each for instance in self.instances.values() for each in instance.processes()]
        rss, fds, threads = [0], 0, 0
        sockets: list[Connection] = []
        for process in processes:
            with contextlib.suppress(psutil.Error):
                rss.append(process.memory_info().rss)
                fds += process.num_fds()
                threads += process.num_threads()
                sockets += process.net_connections("inet")
        uses = counted(sockets, self._uses())
        return Resources(
            at=time.monotonic(),
            processes=len(processes),
            rss_bytes=sum(rss),
            largest_rss_bytes=max(rss),
            fds=fds,
            threads=threads,
            client_sockets=uses[CLIENT],
            peer_sockets=uses[PEER],
            cloud_sockets=uses["cloud"],
            redis_sockets=uses["redis"],
        )

    def _uses(self) -> Mapping[int, str]:
        """What is behind a port."""
        return {
            **{line.port: "cloud" for line in self.cloud_lines.values()},
            **{line.port: "redis" for line in self.redis_lines.values()},
            **dict.fromkeys(self.store.ports, "redis"),
            **{ports.grpc: PEER for ports in self.ports.values()},
        }
