"""Servers that play the cloud, and a proxy before it, byte by byte."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

Answers = Callable[[bytes], bytes]
"""What is answered to a request's head; nothing: it hangs."""


def an_answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """One HTTP answer."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


class Cloud:
    """Answers each request by `answers`; can say something unasked, and close what is open."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.heads: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Cloud"]:
        """While entered, it listens on `port`."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.abort()
            await _ended(self._tasks)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def say(self, unasked: bytes) -> None:
        """Sends on every open connection what nobody asked for."""
        for writer in self._writers:
            writer.write(unasked)

    def abort(self) -> None:
        """Closes every connection without a word."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        _note(self._tasks)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    self.heads.append(head)
                    answer = self.answers(head)
                    if not answer:
                        await reader.read()
                        break
                    writer.write(answer)
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


def _note(tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.current_task()
    assert task is not None
    tasks.add(task)


async def _ended(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(_for_the_server(data))
            await writer.drain()
    writer.transport.abort()


def _for_the_server(data: bytes) -> bytes:
    """A request without what is meant for a proxy alone: the server's name in its first line."""
    return re.sub(rb"^([A-Z]+ )http://[^/ ]+", rb"\1", data)


@asynccontextmanager
async def a_proxy(port: int) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Leads all to that port, whatever its name; gives its own port, and the heads it is asked with."""
    heads: list[bytes] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _note(tasks)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()
            return
        heads.append(head)
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
        if head.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            to_writer.write(_for_the_server(head))
        try:
            await asyncio.gather(_pipe(reader, to_writer), _pipe(to_reader, writer))
        finally:
            writer.transport.abort()
            to_writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()
        await _ended(tasks)
