"""What strangers do to METRICS_PORT."""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count

from tests.chaos.noticed import asked

PIECE = b"x" * 65_536

Attack = Callable[[int], Awaitable[None]]


async def big_body(port: int) -> None:
    """A body without end, to a page without a login."""
    await asyncio.gather(*(_big_body(port, chunked=bool(number % 2)) for number in range(4)))


async def _big_body(port: int, *, chunked: bool) -> None:
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 98304000"
            writer.write(b"POST /admin/login/ HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n")
            piece = b"10000\r\n" + PIECE + b"\r\n" if chunked else PIECE
            with suppress(OSError):
                for _ in range(1500):
                    writer.write(piece)
                    await writer.drain()
            writer.transport.abort()
        await asyncio.sleep(0.01)


async def dripping(port: int) -> None:
    """A thousand connections that send a byte of a header a second."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))

    async def one() -> None:
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
                while not writer.transport.is_closing():
                    writer.write(b"x")
                    await asyncio.sleep(1)
            await asyncio.sleep(0.5)

    await asyncio.gather(*(one() for _ in range(1000)))


async def new_names(port: int) -> None:
    """Sixty connections that log in, each time by another name."""
    names = count()
    token = b"a" * 64
    head = b"POST /admin/login/ HTTP/1.1\r\nHost: x\r\nCookie: sidecar_csrf=%s\r\n" % token
    head += b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s"

    async def one() -> None:
        body = b"csrfmiddlewaretoken=%s&username=u%d&password=wrong" % (token, next(names))
        await asked(port, head % (len(body), body))

    await _by(60, one)


async def pages(port: int) -> None:
    """Sixty connections that look at the page of the login."""
    await _by(60, lambda: asked(port, b"GET /admin/login/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))


async def scrapes(port: int) -> None:
    """Thirty connections that scrape."""
    await _by(30, lambda: asked(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))


async def _by(connections: int, ask: Callable[[], Awaitable[object]]) -> None:
    async def one() -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                await ask()
            await asyncio.sleep(0)

    await asyncio.gather(*(one() for _ in range(connections)))


async def idle(port: int) -> None:
    """A thousand connections that say nothing, and come again when they are cut."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))

    async def one() -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                await reader.read()
                writer.close()
            await asyncio.sleep(0.5)

    await asyncio.gather(*(one() for _ in range(1000)))


ATTACKS: dict[str, Attack] = {
    each.__name__: each for each in (big_body, dripping, idle, new_names, pages, scrapes)
}
