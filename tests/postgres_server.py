"""A PostgreSQL of our own for tests: a real server in a folder of its own, reached over a socket in it."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest

NO_POSTGRES = "no PostgreSQL is installed: DATABASE_URL=postgres://… is not tested (apt install postgresql)"
USER = "nobody"
"""It refuses to run as root."""
START_SECONDS = 20.0


def _binaries() -> Path | None:
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def _signal(processes: Iterable[int], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


class PostgresServer:
    """While entered, it answers; what it held is gone afterwards, and it ends with the tests in any case."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._data = self._folder / "data"
        is_root = os.geteuid() == 0
        self._as_user = ["setpriv", "--pdeathsig=INT"]
        self._as_user += [f"--reuid={USER}", "--clear-groups"] if is_root else []
        if is_root:
            shutil.chown(self._folder, USER)

    @property
    def url(self) -> str:
        """For DATABASE_URL."""
        return f"postgres://tests@{quote(str(self._folder), safe='')}/postgres"

    def __enter__(self) -> "PostgresServer":
        binaries = _binaries()
        if binaries is None:
            shutil.rmtree(self._folder)
            pytest.skip(NO_POSTGRES)
        made = ("--username=tests", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        self._run(binaries / "initdb", f"--pgdata={self._data}", *made).wait()
        settings = ("listen_addresses=", f"unix_socket_directories={self._folder}", "fsync=off")
        options = [word for setting in settings for word in ("-c", setting)]
        self._server = self._run(binaries / "postgres", "-D", str(self._data), *options)
        deadline = time.monotonic() + START_SECONDS
        while self._run(binaries / "pg_isready", "--host", str(self._folder)).wait() != 0:
            assert self._server.poll() is None, "PostgreSQL does not start"
            assert time.monotonic() < deadline, "PostgreSQL does not start in time"
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.send_signal(signal.SIGINT)
        self._server.wait()
        shutil.rmtree(self._folder)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """While entered, no process of its runs: connections stay open, and nobody answers."""
        own = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text().split()
        processes = [self._server.pid, *map(int, own)]
        _signal(processes, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(processes, signal.SIGCONT)

    def _run(self, program: Path, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - its own programs
            [*self._as_user, program, *arguments],
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
