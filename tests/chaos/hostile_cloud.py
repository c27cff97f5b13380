"""A cloud gone mad: one HTTP and WebSocket port that answers whatever it is told to, byte by byte."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from tests.cloud_states import boolean_state

MEGABYTE = 1024 * 1024
GOOD = json.dumps({"data": {"entitlementsState": boolean_state()}}).encode()

Body = Callable[[asyncio.StreamWriter], Awaitable[None]]


def plain(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> Body:
    """An answer of these bytes."""

    async def write(writer: asyncio.StreamWriter) -> None:
        head = [b"HTTP/1.1 " + status, b"Content-Type: application/json", *headers]
        writer.write(b"\r\n".join([*head, b"Content-Length: %d" % len(body), b"", body]))

    return write


async def endless(writer: asyncio.StreamWriter) -> None:
    """Chunks of JSON without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    while True:
        writer.write(chunk)
        await writer.drain()


async def dripping(writer: asyncio.StreamWriter) -> None:
    """A byte now and then."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def header_flood(writer: asyncio.StreamWriter) -> None:
    """Headers without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Header: " + b"x" * 8000 + b"\r\n")
        await writer.drain()


async def senseless(writer: asyncio.StreamWriter) -> None:
    """No HTTP."""
    writer.write(b"\x00\x01\x02 what?\r\n\r\n" * 100)


def bomb(megabytes: int) -> Body:
    """So much JSON of nothing, a thousandth of it on the wire."""
    return plain(
        gzip.compress(b'{"data":"' + b" " * (megabytes * MEGABYTE) + b'"}'), b"Content-Encoding: gzip"
    )


_LOUD = {"errors": [{"message": "\ud800" + "x" * MEGABYTE, "extensions": {"code": "z" * 100_000}}]}
_DEEP = b'{"data":' + b'{"a":' * 100_000
BODIES: dict[str, Body] = {
    "nothing": plain(b""),
    "deep": plain(_DEEP),
    "many lists": plain(b'{"data":{"entitlementsState":{"entitlementsV2":[' + b"[]," * 2_000_000 + b"[]]}}}"),
    "70 MB": plain(b'{"data":"' + b"x" * (70 * MEGABYTE) + b'"}'),
    "gzip bomb": bomb(70),
    "gzip of gzip": plain(gzip.compress(gzip.compress(GOOD)), b"Content-Encoding: gzip, gzip, br, x"),
    "no gzip": plain(GOOD, b"Content-Encoding: gzip"),
    "wrong length": plain(GOOD, b"Content-Length: 5"),
    "endless": endless,
    "dripping": dripping,
    "header flood": header_flood,
    "senseless": senseless,
    "redirect": plain(GOOD, b"Location: http://127.0.0.1:1/", status=b"302 Found"),
    "status 999": plain(GOOD, status=b"999 What"),
    "pause for ever": plain(b"", b"Retry-After: " + b"9" * 300, status=b"429 Slow"),
    "message of a megabyte": plain(json.dumps(_LOUD).encode()),
}


class HostileCloud:
    """Answers each HTTP request by `body`; while entered."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.requests = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "HostileCloud":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Its base address."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                await self.body(writer)
                await writer.drain()
        finally:
            writer.close()
            self._tasks.discard(task)


FRAMES: tuple[Any, ...] = (
    *(b"\x00\xff", b"", "", "null", "[]", "{}", "5", '"next"', "{" * 100_000, "[" * 100_000, '{"type":[]}'),
    *('{"type":"next"}', '{"type":"next","id":"nobody","payload":{}}', '{"type":"connection_ack"}'),
    *('{"type":"complete","id":"nobody"}', '{"type":"error","id":5,"payload":"\\ud800"}', '{"type":"pong"}'),
    '{"type":"ping","payload":' + "[" * 900 + "]" * 900 + "}",
    '{"type":"next","id":"1","payload":{"data":{"entitlementsUpdatedV2":{"customerId":5}}}}',
    '{"type":"next","id":"1","payload":{"data":{"entitlementsUpdatedV2":{"customerId":"bystander",'
    '"resourceId":{},"entitlements":[],"accessDeniedReason":"Revoked"}}}}',
    '{"type":"next","id":"2","payload":{"data":{"usageUpdatedV2":{"customerId":"\\ud800"}}}}',
    "x" * (17 * MEGABYTE),
    '{"type":"next","id":"1","payload":"' + "x" * (2 * MEGABYTE) + '"}',
)


async def hostile_feed(connections: list[int]) -> Server:
    """A feed that is followed, and then sends one of the frames a hundred times; each time another one."""

    async def follow(socket: ServerConnection) -> None:
        connections.append(len(connections))
        frame = FRAMES[len(connections) % len(FRAMES)]
        async for message in socket:
            said = json.loads(message)
            if said["type"] == "connection_init":
                await socket.send('{"type":"connection_ack"}')
            if said["type"] == "ping":
                await socket.send('{"type":"pong"}')
                for _ in range(100):
                    await socket.send(frame)
                await socket.close()

    return await serve(
        follow,
        "127.0.0.1",
        0,
        subprotocols=[Subprotocol("graphql-transport-ws")],
        max_size=None,
        compression=None,
    )
