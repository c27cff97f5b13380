"""`--workers N`: several processes answer on the same ports; one that dies is started again.

The parent opens the HTTP port for all, and keeps the gRPC ports from others; it answers nothing itself.
"""

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from django.conf import settings

from entitlements.background import Background, awaited, ended
from entitlements.config import SidecarConfig
from grpc_service.tls import reloading_credentials
from sidecar_project.ports import listen, port_of, reserve, tls_files
from sidecar_project.worker_metrics import forget_gauges, variables

logger = logging.getLogger(__name__)

MAX_WORKERS = 64
FIRST_PAUSE_SECONDS = 0.5
"""Before a worker that died is started again; doubles while it dies soon after."""
LONGEST_PAUSE_SECONDS = 30.0
STABLE_SECONDS = 10.0
"""A worker that lived so long did not die of its start."""
KILL_MARGIN_SECONDS = 5.0
"""A worker that has not drained so long after its grace period is killed."""
ENDED_WHILE_STARTING = -signal.SIGTERM
"""A worker that serves drains on SIGTERM; one that it ends did not serve yet and has nothing to drain."""
BEAT_SECONDS = 1.0
"""So often a worker that serves reports to its parent that its loop turns."""
SILENCE_SECONDS = 2.5
"""A worker that reports nothing for twice as long hangs, and is killed."""
FIRST_BEAT_SECONDS = 60.0
"""The same while it starts."""
METRICS_FOLDER_NAME = "worker-metrics"
"""Where the workers add up their metrics, in the data folder."""


def supervise(config: SidecarConfig, *, count: int, data_dir: Path) -> int:
    """Runs that many workers until SIGTERM or SIGINT; returns 0 when all of them drained.

    Raises:
        PortUnavailable: a port could not be opened; no worker runs then.
        UnusableTlsFiles: the TLS files cannot be served with.
    """
    with ExitStack() as stack:
        host = config.sidecar_listen_host
        http = listen(host, config.metrics_port)
        _close_with(stack, http)
        grpc = reserve(host, config.grpc_port)
        _close_with(stack, grpc)
        ports = {"GRPC_PORT": str(port_of(grpc)), "METRICS_PORT": str(port_of(http))}
        tls = tls_files(config)
        if tls is not None:
            # Unusable files are reported here, once, and not by each worker again and again.
            reloading_credentials(tls)
            tls_sockets = reserve(host, config.port)
            _close_with(stack, tls_sockets)
            ports["PORT"] = str(port_of(tls_sockets))
        if config.sidecar_http_port is not None:
            api = reserve(host, config.sidecar_http_port)
            _close_with(stack, api)
            ports["SIDECAR_HTTP_PORT"] = str(port_of(api))
        folder = _metrics_folder(data_dir, stack)
        environment = {
            **os.environ,
            **ports,
            "CACHE_MAX_SIZE_BYTES": str(config.cache_max_size_bytes // count),
        }
        grace_seconds = config.sidecar_shutdown_grace_seconds
        workers = [
            _Worker(environment, http, metrics_folder=folder, place=place, grace_seconds=grace_seconds)
            for place in range(count)
        ]
        return asyncio.run(_run(workers))


def _close_with(stack: ExitStack, sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        stack.enter_context(each)


def _metrics_folder(data_dir: Path, stack: ExitStack) -> Path | None:
    """An empty folder for what the workers count; None where there is none, and each counts for itself."""
    folder = data_dir / METRICS_FOLDER_NAME
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        logger.warning("SIDECAR_DATA_DIR cannot be written to reason=%s", reason)
        try:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-metrics-")))
        except OSError:
            return None
    return folder


async def _run(workers: list["_Worker"]) -> int:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    background = Background(time.monotonic)
    for worker in workers:
        background.keep(worker.name, worker.keep)
    await stopped.wait()
    await background.stop()
    codes = await asyncio.gather(*(worker.stop() for worker in workers))
    return max(codes, default=0)


class _Worker:
    """One place among the workers, and the process that fills it at present."""

    def __init__(
        self,
        environment: dict[str, str],
        http: Sequence[socket.socket],
        *,
        metrics_folder: Path | None,
        place: int,
        grace_seconds: float,
    ) -> None:
        counts = {} if metrics_folder is None else variables(metrics_folder, place)
        self._environment = {**environment, **counts}
        self._metrics_folder = metrics_folder
        self._place = place
        self._http = http
        self._grace_seconds = grace_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._lifeline: asyncio.StreamWriter | None = None
        """Open while the process is to live."""
        self._starts = 0

    @property
    def name(self) -> str:
        """The place, for people."""
        return f"worker-{self._place}"

    async def keep(self) -> None:
        """Has a process run in this place, for ever."""
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            started_at = time.monotonic()
            process = self._process = await self._start()
            code = await self._ended(process)
            if self._metrics_folder is not None:
                forget_gauges(self._metrics_folder, self._place)
            lived_seconds = time.monotonic() - started_at
            if lived_seconds >= STABLE_SECONDS:
                pause_seconds = FIRST_PAUSE_SECONDS
            logger.error(
                "a worker ended and is started again",
                extra={"pid": process.pid, "exit_code": code, "pause_seconds": pause_seconds},
            )
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, LONGEST_PAUSE_SECONDS)

    async def stop(self) -> int:
        """Drains the process; returns 0 when it did, 1 when it failed or had to be killed."""
        process = self._process
        if process is None or process.returncode is not None:
            return 0
        process.send_signal(signal.SIGTERM)
        try:
            code = await asyncio.wait_for(process.wait(), self._grace_seconds + KILL_MARGIN_SECONDS)
        except TimeoutError:
            process.kill()
            code = await process.wait()
        self._cut_lifeline()
        if code in (0, ENDED_WHILE_STARTING):
            return 0
        logger.error("a worker did not drain", extra={"pid": process.pid, "exit_code": code})
        return 1

    async def _start(self) -> asyncio.subprocess.Process:
        """A process whose standard input is a socket from here.

        The process ends by itself when that is closed, since then this one died; and it beats on it.
        """
        self._starts += 1
        ours, theirs = socket.socketpair()
        with theirs:
            process = await self._spawned(theirs)
        self._beats, self._lifeline = await asyncio.open_connection(sock=ours)
        return process

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        """The exit code of a process that ended, or was killed because it hangs."""
        watching = awaited(kill_when_silent(process, self._beats), name="beats")
        try:
            code = await process.wait()
        finally:
            await ended(watching)
        self._cut_lifeline()
        return code

    def _cut_lifeline(self) -> None:
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None

    async def _spawned(self, stdin: socket.socket) -> asyncio.subprocess.Process:
        listeners = tuple(each.fileno() for each in self._http)
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *settings.PROGRAM,
            "runsidecar",
            *(f"--worker-http-fd={listener}" for listener in listeners),
            *(() if self._starts == 1 else ("--worker-restarted",)),
            env=self._environment,
            stdin=stdin.fileno(),
            pass_fds=listeners,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which drains the workers
        )


async def kill_when_silent(process: asyncio.subprocess.Process, beats: asyncio.StreamReader) -> None:
    """Kills a process whose loop turns no more: it was stopped, or waits for what never comes.

    One silence proves nothing: where this process was stopped as well (a suspended machine), its own
    time-out is over when it goes on, before it has read what arrived meanwhile. So it listens once more.
    """
    limit_seconds, silences = FIRST_BEAT_SECONDS, 0
    while silences < 2:  # noqa: PLR2004 - see above
        try:
            async with asyncio.timeout(limit_seconds):
                if not await beats.read(1024):
                    return
        except TimeoutError:
            silences += 1
        else:
            limit_seconds, silences = SILENCE_SECONDS, 0
    logger.error("a worker hangs and is killed", extra={"pid": process.pid})
    process.kill()


async def beat(parent: socket.socket) -> None:
    """Tells the parent again and again that the loop of this worker turns."""
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        beat_once(parent)


def beat_once(parent: socket.socket) -> None:
    """The same, now."""
    with suppress(OSError):  # it hangs itself, or is gone: that is another's matter
        parent.send(b".", socket.MSG_DONTWAIT)
