"""The line between two sockets, good and bad."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.chaos.proxy import TcpProxy
from tests.chaos.records import now


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
    writer.close()


@asynccontextmanager
async def a_line() -> AsyncIterator[TcpProxy]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with TcpProxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


@asynccontextmanager
async def a_caller(proxy: TcpProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def test_a_good_line_passes_everything() -> None:
    """Both ways, whole, and the end of it too."""
    async with a_line() as proxy, a_caller(proxy) as (reader, writer):
        sent = bytes(range(256)) * 1000
        writer.write(sent)
        writer.write_eof()

        assert sent == await reader.read(-1)


async def test_a_slow_line_delays() -> None:
    """Each way."""
    async with a_line() as proxy, a_caller(proxy) as (reader, writer):
        proxy.slow(0.1)
        began = now()
        writer.write(b"x")

        assert b"x" == await reader.readexactly(1)
        assert now() - began >= 0.2


async def test_a_sliced_line_passes_pieces() -> None:
    """All of them, in order."""
    async with a_line() as proxy, a_caller(proxy) as (reader, writer):
        proxy.slice(3, 0.001)
        writer.write(b"0123456789")

        first = await reader.read(100)
        assert len(first) < 10
        assert b"0123456789" == first + await reader.readexactly(10 - len(first))


async def test_a_deaf_line_keeps_what_was_said() -> None:
    """It arrives once the line is good again."""
    async with a_line() as proxy, a_caller(proxy) as (reader, writer):
        proxy.deafen()
        writer.write(b"x")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.1)

        proxy.clear()

        assert b"x" == await reader.readexactly(1)


async def test_a_forgotten_connection_is_neither_read_nor_ended() -> None:
    """Also not when the line is made good; the one after it is good at once."""
    async with a_line() as proxy, a_caller(proxy) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)

        proxy.forget()
        writer.write(b"lost")
        proxy.clear()

        async with a_caller(proxy) as (again, asked):
            asked.write(b"y")
            assert b"y" == await again.readexactly(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)


async def test_a_cut_line_resets() -> None:
    """The open connections, and takes new ones."""
    async with a_line() as proxy, a_caller(proxy) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        assert proxy.cut() == 2
        assert proxy.cut() == 0

        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        async with a_caller(proxy) as (again, asked):
            asked.write(b"y")
            assert b"y" == await again.readexactly(1)


async def test_a_refusing_line_comes_back_on_its_port() -> None:
    """Until then nobody else can have the port."""
    async with a_line() as proxy:
        await proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)

        await proxy.accept()

        async with a_caller(proxy) as (reader, writer):
            writer.write(b"x")
            assert b"x" == await reader.readexactly(1)
