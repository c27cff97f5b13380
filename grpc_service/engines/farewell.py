"""Asks the clients of a port to go elsewhere, before gRPC's core stops serving it.

The core cancels every call that arrives after its own shutdown began, and what a client sends before it has
read the core's GOAWAY arrives just then. What HTTP/2 has for that (RFC 9113, 6.8), a GOAWAY that names no
last stream and a server that goes on answering, the core only does for connections that are too old. So the
frame is sent here, past the core, which need not know of it: a client that reads it begins no more streams,
ends those under way and closes the connection.

A frame of ours must stand between two of the core's. Writes of both are whole, one after the other, unless
the core could not write all that it had; then something waits in the socket, and the connection is left for
the next round. TLS connections cannot be written to past the core: they go where the core lets none become
older than they may be waited for, and else end as the core ends them.
"""

import asyncio
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable

from grpc_service.engines.sockets import tcp_sockets

ROUND_SECONDS = 0.02
"""Between two looks at the connections. One that is seen a second time has had the core's first frame."""
SPARE_DESCRIPTORS = 3
"""What a look at the connections needs, in a process that may open no more by then."""
_GOAWAY = bytes.fromhex("000008 07 00 00000000 7fffffff 00000000")
"""No stream is refused (the last one is the last there can be), and nothing is wrong."""


class Farewell:
    """The connections of this process to some of its ports."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._ports: dict[int, bool] = {}
        """Each port, and whether it speaks TLS."""
        self._seen: set[int] = set()
        self._notified: set[int] = set()
        self._spare: list[int] = []

    def add(self, port: int, *, is_tls: bool) -> None:
        """A port that is listened on."""
        self._ports[port] = is_tls
        if not self._spare:
            self._spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(SPARE_DESCRIPTORS)]

    async def bid(self, *, seconds: float, tls_seconds: float = 0.0) -> int:
        """Takes no new connections, has clients leave; returns how many are still there after so long.

        Args:
            seconds: those without TLS leave once they are asked.
            tls_seconds: the others leave when they are too old; 0: they are not waited for.
        """
        began = self._monotonic()
        while self._spare:
            os.close(self._spare.pop())
        while True:
            plain, tls = self._round_if_possible()
            passed = self._monotonic() - began
            if not (plain and passed < seconds) and not (tls and passed < tls_seconds):
                return plain + tls
            await asyncio.sleep(ROUND_SECONDS)

    def _round_if_possible(self) -> tuple[int, int]:
        """How many are there; at least one where no descriptor is left to look at them with."""
        try:
            return self._round()
        except OSError:  # somebody else has taken the spare ones
            return 1, 0

    def _round(self) -> tuple[int, int]:
        """Looks at each connection once; how many there are without TLS, and with it."""
        plain = tls = 0
        for descriptor, each in tcp_sockets():
            is_tls = self._ports.get(each.getsockname()[1])
            if is_tls is None:
                continue
            if each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                _take_from_core(descriptor)
            elif is_tls:
                tls += 1
            else:
                plain += 1
                self._notify(each)
        return plain, tls

    def _notify(self, each: socket.socket) -> None:
        inode = os.fstat(each.fileno()).st_ino
        if inode in self._seen and inode not in self._notified and _is_at_rest(each):
            each.send(_GOAWAY, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            self._notified.add(inode)
        self._seen.add(inode)


def _take_from_core(listener: int) -> None:
    """Closes a listener, so that the next connection is refused and its client looks elsewhere.

    The core is left a socket that never has news: of one that is shut down it complains on standard error.
    """
    with socket.socket() as silent:
        os.dup2(silent.fileno(), listener, inheritable=False)


def _is_at_rest(each: socket.socket) -> bool:
    """True when the client's machine has all that was written so far."""
    waiting: int = struct.unpack("i", fcntl.ioctl(each, termios.TIOCOUTQ, bytes(4)))[0]
    return waiting == 0
