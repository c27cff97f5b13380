"""Where a running sidecar listens for commands, and where they find it: sockets in SIDECAR_DATA_DIR.

The first sidecar of a folder has `control.sock`. One more there, which should have a folder of its own, has a
socket named after it, so that it takes nothing from the first and its commands reach it.
"""

import fcntl
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)

STEM = "control"
SOCKET_NAME = f"{STEM}.sock"
MAX_HOST_CHARACTERS = 40
MAX_ADDRESS_BYTES = 103
"""What every kernel takes as the path of a socket; Linux takes 107."""


def name_of(http_port: int) -> str:
    """A sidecar's: no two at a time listen on one port of one machine or container."""
    host = re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname())[:MAX_HOST_CHARACTERS]
    return f"{host}.{http_port}"


def paths(folder: Path, name: str) -> tuple[Path, ...]:
    """Where the commands of a sidecar ask, the likelier first."""
    return folder / f"{STEM}-{name}.sock", folder / SOCKET_NAME


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """While entered, what a socket can be bound or connected to: a folder may lie deeper than that takes.

    Raises:
        OSError: there is no such folder, or no such way to it on this system.
    """
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@contextmanager
def listening(folder: Path, name: str) -> Iterator[socket.socket | None]:
    """While entered, a socket that its owner alone can open; None where another worker has it.

    Raises:
        OSError: there can be no socket.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stem, holder = STEM, _lock(folder, STEM, name, stack)
        if holder not in (None, name):
            logger.warning(
                "another sidecar uses this SIDECAR_DATA_DIR, and with it the outbox and the database: "
                "give each its own folder=%s other=%s",
                folder,
                holder,
            )
            stem = f"{STEM}-{name}"
            holder = _lock(folder, stem, name, stack)
        yield None if holder is not None else stack.enter_context(_bound(folder / f"{stem}.sock"))


def _lock(folder: Path, stem: str, name: str, stack: ExitStack) -> str | None:
    """None where the place is ours until the stack is left, or until we die; else the name of whose it is.

    A lock and not a question to the socket: whoever has bound it, but does not listen yet, or is too busy to
    answer, would look dead and lose it.
    """
    path = folder / f"{stem}.lock"
    file = stack.enter_context(open(path, "a+", opener=_privately))  # noqa: SIM115 - the stack
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        return file.read().strip() or "unknown"
    file.truncate(0)
    file.write(name)
    file.flush()
    return None


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    path.unlink(missing_ok=True)  # of one that died: the place is ours
    with socket.socket(socket.AF_UNIX) as listener:
        before = os.umask(0o177)
        try:
            with address_of(path) as address:
                listener.bind(address)
        finally:
            os.umask(before)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)
