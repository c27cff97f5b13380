"""Starts `manage.py` without waiting for its imports: a process has made them once, and forks.

More than half of what a start costs is imports, the same ones each time. The process that makes them runs
nothing of ours: it reads no settings, starts no thread and opens no connection. What it forks takes the
arguments and the environment as given, runs `manage.py` as its main program and ends as an interpreter ends.
What the interpreter or a library reads from the environment at its load needs an interpreter of its own:
`can_fork` says which.
"""

import asyncio
import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Protocol

ROOT = Path(__file__).resolve().parent.parent
MANAGE = str(ROOT / "manage.py")
BASE = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
READ_AT_LOAD = ("COVERAGE_", "GRPC_", "LANG", "LC_", "LD_", "MALLOC_", "OTEL_", "PROMETHEUS_", "PYTHON", "TZ")
"""Beginnings of variables that are read before `manage.py` can set or find them."""
OURS = ("GRPC_PORT",)
MAX_REQUEST_BYTES = 64 * 1024
"""Fits into one packet with certainty."""
IMPORTED = (
    "grpc_service",  # before grpc: it sets how the core works
    "grpc_service.server",
    "django.contrib.admin.options",
    "django.core.management.commands.migrate",
    "django.db.backends.sqlite3.base",
    "entitlements.admin.history",
    "entitlements.cache.redis",
    "entitlements.cache.snapshot",
    "entitlements.cache.tiers",
    "entitlements.config",
    "entitlements.domain.difference",
    "entitlements.domain.events",
    "entitlements.frame_channel",
    "entitlements.redis.address",
    "entitlements.redis.connection",
    "entitlements.redis.factories",
    "entitlements.service.explaining",
    "entitlements.service.explanation_document",
    "entitlements.service.question",
    "entitlements.service.reader",
    "entitlements.service.recorder",
    "entitlements.service.secret_rotation",
    "entitlements.service.shadow_ledger",
    "entitlements.service.invalidation",
    "entitlements.service.usage_reporter",
    "entitlements.upstream.feed",
    "entitlements.upstream.graphql",
    "entitlements.upstream.transport",
    "entitlements.outbox.outbox_file",
    "entitlements.service.outbox_dispatcher",
    "entitlements.service.store_and_forward",
    "entitlements.upstream.offline_file",
    "grpc_service.decision_log",
    "grpc_service.engines.completion_queue",
    "grpc_service.shadow",
    "http_service.connect",
    "http_service.ofrep",
    "http_service.server",
    "axes",
    "channels.consumer",
    "csp.middleware",
    "daphne.http_protocol",
    "daphne.ws_protocol",
    "django.contrib.sessions.backends.db",
    "django.contrib.staticfiles.storage",
    "django.contrib.staticfiles.handlers",
    "django.core.handlers.asgi",
    "django_prometheus.apps",
    "pythonjsonlogger",
)
"""What each `manage.py` imports sooner or later, and needs no settings.

Of Twisted what chooses no reactor: that opens descriptors, which a child has not.
"""
LEFT_OUT = "OpenSSL"
"""As sidecar_project/http_server.py loads Daphne."""


class Process(Protocol):
    """What tests ask of a process, be it forked or of an interpreter of its own."""

    pid: int
    stdout: asyncio.StreamReader | None

    @property
    def returncode(self) -> int | None:
        """None while it runs."""

    def send_signal(self, signal: int) -> None:
        """Nothing happens where it has ended."""

    def kill(self) -> None:
        """SIGKILL."""

    async def wait(self) -> int:
        """Its exit code, once it has ended."""


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether nothing in it is read before `manage.py` is."""
    given = {name: value for name, value in environment.items() if name not in OURS}
    early = {name: value for name, value in given.items() if name.startswith(READ_AT_LOAD)}
    return (
        hasattr(os, "pidfd_open")
        and early.items() <= BASE.items()
        and len(json.dumps(dict(environment))) < MAX_REQUEST_BYTES // 2
    )


class ForkedProcess:
    """A `manage.py` that was forked; its server reports its number, and how it ended."""

    def __init__(self, stdout: asyncio.StreamReader, notices: asyncio.StreamReader, pid: int) -> None:
        self.stdout: asyncio.StreamReader | None = stdout
        self.pid = pid
        self._returncode: int | None = None
        self._ended = asyncio.create_task(self._read_end(notices))

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._returncode

    def send_signal(self, number: int) -> None:
        """Nothing happens where it has ended."""
        if self._returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.shield(self._ended)

    async def _read_end(self, notices: asyncio.StreamReader) -> int:
        self._returncode = int(await notices.read())  # to the end, at which the pipe is closed
        return self._returncode


async def fork(
    environment: Mapping[str, str], arguments: Sequence[str], *, folder: Path | None = None
) -> ForkedProcess:
    """Runs `manage.py` with these arguments, in this folder or the present one; its outputs are one pipe."""
    ours, theirs = os.pipe()
    notices, notify = os.pipe()
    request = {
        "arguments": list(arguments),
        "environment": dict(environment),
        "folder": str(folder or Path.cwd()),
    }
    try:
        socket.send_fds(_server(), [json.dumps(request).encode()], [theirs, notify])
    finally:
        os.close(theirs)
        os.close(notify)
    stdout, ends = await _reader(os.fdopen(ours, "rb")), await _reader(os.fdopen(notices, "rb"))
    return ForkedProcess(stdout, ends, int(await ends.readline()))


async def _reader(pipe: IO[bytes]) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


@cache
def _server() -> socket.socket:
    """One for this process, started when first needed; it ends with it, and kills what it forked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - this module
            [sys.executable, "-m", "tests.fork_server", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            env=BASE,
            stdin=subprocess.DEVNULL,
        )
    atexit.register(_stop, ours, process)
    return ours


def _stop(requests: socket.socket, process: subprocess.Popen[bytes]) -> None:
    requests.close()
    process.wait()


class _Forking:
    """The server's side: forks on request, and says how each ended."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)
        self._running: dict[int, tuple[int, int]] = {}
        """By the descriptor that becomes readable at its end: its number, and the pipe that is written to."""

    def next_child(self) -> tuple[list[str], dict[str, str]]:
        """Returns in each child: its arguments and its environment. The server ends in here."""
        while True:
            for key, _ in self._selector.select():
                if key.fd != self._requests.fileno():
                    self._report_end(key.fd)
                    continue
                packet, descriptors, _, _ = socket.recv_fds(self._requests, MAX_REQUEST_BYTES, 2)
                if not packet:
                    self._end()
                if self._fork(*descriptors) == 0:
                    # Left to the garbage collector, they would close their numbers when those are another's.
                    self._selector.close()
                    self._requests.close()
                    return _child_of(json.loads(packet), descriptors[0])

    def _fork(self, output: int, notify: int) -> int:
        pid = os.fork()
        if pid:
            os.close(output)
            os.write(notify, b"%d\n" % pid)
            ends = os.pidfd_open(pid)
            self._running[ends] = pid, notify
            self._selector.register(ends, selectors.EVENT_READ)
        return pid

    def _report_end(self, ends: int) -> None:
        self._selector.unregister(ends)
        pid, notify = self._running.pop(ends)
        _, status = os.waitpid(pid, 0)
        with suppress(BrokenPipeError):  # nobody wants to know
            os.write(notify, b"%d\n" % os.waitstatus_to_exitcode(status))
        os.close(ends)
        os.close(notify)

    def _end(self) -> None:
        for pid, _ in self._running.values():
            os.kill(pid, signal.SIGKILL)
        os._exit(0)


def _child_of(request: dict[str, Any], output: int) -> tuple[list[str], dict[str, str]]:
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    for stream in (sys.stdout, sys.stderr):  # as of an interpreter that ends with `sys.exit(sentence)`
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    return request["arguments"], request["environment"]


def main() -> None:
    """Imports, waits, and is `manage.py` in each child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's Ctrl-C is the tests' to handle
    before = set(os.environ)
    os.environ["AUTOBAHN_USE_NVX"] = "0"
    sys.modules[LEFT_OUT] = None  # type: ignore[assignment]
    for name in IMPORTED:
        import_module(name)
    del sys.modules[LEFT_OUT]
    # A child's collector leaves these alone: to look at them copies their pages, at its end all of them.
    gc.freeze()
    library_variables = {name: value for name, value in os.environ.items() if name not in before}
    arguments, environment = _Forking(socket.socket(fileno=int(sys.argv[1]))).next_child()
    os.environ.clear()
    os.environ.update(library_variables | environment)
    sys.argv = [MANAGE, *arguments]
    sys.path[0] = str(ROOT)
    runpy.run_path(MANAGE, run_name="__main__")


if __name__ == "__main__":
    main()
