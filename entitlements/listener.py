"""A listening socket for asyncio's servers that costs next to nothing while no file descriptor is left.

asyncio itself rests for a second then, but before that it tries again as often as its backlog is long, and
writes a log line each time.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""A connection is there, and nothing to hold it by: it waits until something is closed."""


class Exhausted(OSError):
    """No file descriptor is left for a connection; whoever listens knows."""


class Listener(socket.socket):
    """Takes the place of a socket that listens."""

    def __init__(self, opened: socket.socket, on_exhausted: Callable[[], None]) -> None:
        super().__init__(opened.family, opened.type, opened.proto, fileno=opened.detach())
        self._on_exhausted = on_exhausted
        self._is_resting = False

    def accept(self) -> tuple[socket.socket, Any]:
        """A connection; where none can be held, asyncio gets an error once, and then that there is none.

        Raises:
            BlockingIOError: there is no connection.
            Exhausted: it cannot be held.
        """
        if self._is_resting:
            self._is_resting = False
            raise BlockingIOError
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            self._is_resting = True
            self._on_exhausted()
            raise Exhausted(error.errno, error.strerror) from error


def spare_the_log(loop: asyncio.AbstractEventLoop) -> None:
    """Keeps asyncio from a line for each time that a listener rests: who listens says it."""
    loop.set_exception_handler(_on_error)


def _on_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), Exhausted):
        loop.default_exception_handler(context)
