"""One sidecar of a machine: `runsidecar` on ports that stay its own."""

import asyncio
import contextlib
import random
import signal
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from tests.chaos.network import Namespace
from tests.chaos.records import Death, now
from tests.harness import CALL_SECONDS, SidecarProcess, spawned

READY_SECONDS = 60.0
LOOKS_AT_PARTS = 6
"""For each worker: a connection reaches one by chance."""
KILLED = '"exit_code": -9'
"""How the log says a worker's death by our own hand."""
NOT_DRAINED, OVER = '"a worker did not drain"', '"the grace period is over'
QUIET_PORTS = range(15_000, 30_000)
"""Ports that no outgoing connection is given, so that a dead process finds its own free again."""


def quiet_port() -> int:
    """A port that nobody listens on, nor is given by chance."""
    dice = random.SystemRandom()
    while True:
        port = dice.choice(QUIET_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Of an instance: they stay its own."""

    grpc: int = field(default_factory=quiet_port)
    metrics: int = field(default_factory=quiet_port)
    api: int = field(default_factory=quiet_port)
    tls: int = field(default_factory=quiet_port)


class Instance:
    """One `runsidecar`, of one worker or several."""

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        *,
        ports: Ports,
        workers: int,
        space: Namespace | None = None,
    ) -> None:
        self.name = name
        self._host = "127.0.0.1" if space is None else space.address
        self._prefix = () if space is None else space.prefix
        self.port = ports.grpc
        self._workers = workers
        self.environment = {
            **environment,
            "GRPC_PORT": str(self.port),
            "METRICS_PORT": str(ports.metrics),
            "SIDECAR_LISTEN_HOST": self._host,
        }
        self._stack = AsyncExitStack()
        self._sidecar: SidecarProcess | None = None
        self._deaths: list[Death] = []
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
        """Returns once all workers listen."""
        arguments = [f"--workers={self._workers}"] if self._workers > 1 else []
        self._sidecar = await self._stack.enter_async_context(
            spawned(self.environment, *arguments, prefix=self._prefix)
        )
        self._read = 0
        await self._sidecar.started()
        await self.listening(self._workers)

    async def listening(self, times: int) -> None:
        """Returns once workers have begun to listen so many times since the parent started."""
        async with asyncio.timeout(READY_SECONDS):
            while self.times_listening() < times:  # noqa: ASYNC110 - other processes announce no events
                await asyncio.sleep(0.05)

    def times_listening(self) -> int:
        """How often a worker has begun to listen."""
        return sum("listening: " in line for line in self.sidecar.lines)

    async def stop(self) -> None:
        """Drains it, as a roll-out does; an exit code other than 0 is a death."""
        began = now()
        code = await self.sidecar.stop()
        if code != 0:
            last = self.sidecar.lines[-20:]
            death = Death(
                words=f"{self.name} ended with {code}: {''.join(last)}",
                began=began,
                ended=now(),
                ran_out_of_time=any(
                    OVER in line or (NOT_DRAINED in line and KILLED in line) for line in last
                ),
            )
            self._deaths.append(death)
        self._note_deaths()
        await self._stack.aclose()

    def take_deaths(self) -> list[Death]:
        """What is known of processes that ended and should not have, since it was asked last."""
        self._note_deaths()
        deaths, self._deaths = self._deaths, []
        return deaths

    def _note_deaths(self) -> None:
        lines = self.sidecar.lines[self._read :]
        self._read += len(lines)
        ended = [line for line in lines if "a worker ended" in line and KILLED not in line]
        self._deaths += [Death(words=line) for line in ended]

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
        for _ in range(LOOKS_AT_PARTS * self._workers):
            said = (await self._get("/readyz?verbose")).json()
            by_process[said["pid"]] = said
        return list(by_process.values())

    async def _get(self, path: str) -> httpx.Response:
        """By a connection of its own."""
        async with httpx.AsyncClient(trust_env=False, timeout=CALL_SECONDS) as client:
            return await client.get(f"http://{self._host}:{self.sidecar.http_port}{path}")

    def workers(self) -> list[psutil.Process]:
        """The processes that answer."""
        processes = self.processes()
        return processes[1:] or processes

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
