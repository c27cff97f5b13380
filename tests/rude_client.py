"""Clients of gRPC that take places and give nothing for them: HTTP/2 as no library would speak it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from hpack import Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS_INITIAL_WINDOW_SIZE = 4
_CANCEL = 8


@asynccontextmanager
async def calling(  # noqa: PLR0913 - each a way to be rude
    port: int,
    path: str,
    *,
    calls: int,
    message: bytes | None = None,
    ends: bool = True,
    window: int = 65_535,
    resets: bool = False,
    is_deaf: bool = False,
) -> AsyncIterator[None]:
    """While entered, so many calls of a method are open on a connection of their own.

    Args:
        port: of 127.0.0.1.
        path: of the method.
        calls: how many.
        message: what each sends; None: nothing but its headers.
        ends: the client says that it sends no more.
        window: how many bytes of a reply may be sent before the client has read some; it reads none.
        resets: each is taken back as soon as it is sent.
        is_deaf: nothing is read of what the server sends.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if is_deaf:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # of the writer it is not known
    reading = asyncio.create_task(_answer_pings(reader, writer))
    try:
        frames = [
            PREFACE,
            _serialized(SettingsFrame(0, {_SETTINGS_INITIAL_WINDOW_SIZE: window})),
            _serialized(WindowUpdateFrame(0, 2**30)),
        ]
        for stream in range(1, 2 * calls, 2):
            frames.append(_call(stream, path, message, ends=ends))
            if resets:
                frames.append(_serialized(RstStreamFrame(stream, _CANCEL)))
        with suppress(ConnectionError):  # it may be cut before all are sent
            writer.write(b"".join(frames))
            await writer.drain()
        yield
    finally:
        reading.cancel()
        writer.transport.abort()
        await asyncio.gather(reading, return_exceptions=True)


def _call(stream: int, path: str, message: bytes | None, *, ends: bool) -> bytes:
    headers = [
        *((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x")),
        *(("te", "trailers"), ("content-type", "application/grpc")),
    ]
    begun = _serialized(HeadersFrame(stream, Encoder().encode(headers), flags=["END_HEADERS"]))
    if message is None:
        return begun
    data = struct.pack(">BI", 0, len(message)) + message
    return begun + _serialized(DataFrame(stream, data, flags=["END_STREAM"] if ends else []))


async def _answer_pings(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Keeps the connection alive; a ping of the server is the one thing that is answered."""
    with suppress(asyncio.IncompleteReadError, OSError):
        while True:
            header = await reader.readexactly(9)
            body = await reader.readexactly(int.from_bytes(header[:3], "big"))
            if header[3] == PingFrame.type and not header[4]:
                writer.write(_serialized(PingFrame(0, body, flags=["ACK"])))


def _serialized(frame: Frame) -> bytes:
    return bytes(frame.serialize())
