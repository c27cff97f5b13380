"""A TCP line that can be made bad: slow, sliced, deaf, half-open, cut, refused. Open connections feel it."""

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

CHUNK_BYTES = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class TcpProxy:
    """Passes everything between its own port and a target port of this machine, as well as its line is."""

    def __init__(self, target_port: int, *, host: str = "127.0.0.1") -> None:
        self.host = host
        """Where it listens; the target is on 127.0.0.1."""
        self._target_port = target_port
        self._kept = _bound(host, 0)
        self.port = int(self._kept.getsockname()[1])
        """Where to connect; stays the same while connections are refused."""
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._forgotten: set[asyncio.StreamWriter] = set()
        self._reads = asyncio.Event()
        self._delay_seconds = 0.0
        self._slice_bytes = CHUNK_BYTES
        self.round_trips = 0
        """How often somebody asked the target, and had its answer before asking again."""
        self.clear()

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.refuse()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._kept.close()

    def clear(self) -> None:
        """Make the line good again; what was held back while it was deaf arrives now."""
        self._delay_seconds = 0.0
        self._slice_bytes = CHUNK_BYTES
        self._reads.set()

    def switch(self, target_port: int) -> None:
        """Lead new connections to another target; open ones stay where they are."""
        self._target_port = target_port

    def slow(self, delay_seconds: float) -> None:
        """Hold every chunk back for so long, each way."""
        self._delay_seconds = delay_seconds

    def slice(self, size_bytes: int, delay_seconds: float) -> None:
        """Let everything arrive in small pieces with a pause before each."""
        self._slice_bytes = size_bytes
        self._delay_seconds = delay_seconds

    def deafen(self) -> None:
        """Let nothing through, with every connection left open and new ones accepted."""
        self._reads.clear()

    def forget(self) -> None:
        """Lose all that is said on the open connections from now on, and end none; new ones are good."""
        self._forgotten |= self._writers

    def cut(self) -> int:
        """End every open connection with a reset; says how many sockets."""
        writers = [writer for writer in self._writers if not writer.transport.is_closing()]
        for writer in writers:
            raw = writer.get_extra_info("socket")
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()
        return len(writers)

    async def refuse(self) -> None:
        """Refuse new connections and cut the open ones, until `accept`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._reads.set()
        self.cut()
        await asyncio.sleep(0)

    async def accept(self) -> None:
        """Take connections again, on the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, sock=_bound(self.host, self.port))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        ends = (writer, far_writer)
        self._writers.update(ends)
        turn = _Turn()
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, lambda: self._asked(turn)),
                self._pump(far_reader, writer, turn.over),
            )
        finally:
            for end in ends:
                self._writers.discard(end)
                self._forgotten.discard(end)
                end.transport.abort()

    def _asked(self, turn: "_Turn") -> None:
        self.round_trips += turn.is_over
        turn.is_over = False

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passed: Callable[[], None]
    ) -> None:
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                passed()
                if writer in self._forgotten:
                    continue
                for piece in _pieces(chunk, self._slice_bytes):
                    await self._reads.wait()
                    if self._delay_seconds:
                        await asyncio.sleep(self._delay_seconds)
                    writer.write(piece)
                    await writer.drain()
            if writer.can_write_eof() and writer not in self._forgotten:
                writer.write_eof()
        except OSError:
            writer.transport.abort()


class _Turn:
    """Whose turn it is to speak on one connection."""

    def __init__(self) -> None:
        self.is_over = True
        """The target answered last, or nobody spoke yet."""

    def over(self) -> None:
        """The target answers."""
        self.is_over = True


def _pieces(chunk: bytes, size_bytes: int) -> Sequence[bytes]:
    return [chunk[start : start + size_bytes] for start in range(0, len(chunk), size_bytes)]


def _bound(host: str, port: int) -> socket.socket:
    """A socket that keeps the port from others; until one of them listens, connections are refused."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    return bound
