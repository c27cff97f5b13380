"""Clients are asked to go before gRPC's core stops: raw HTTP/2 can call after it was asked."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from hpack import Encoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, SettingsFrame

from entitlements.clock import SystemClock
from grpc_service.engines.aio import AioEngine
from grpc_service.engines.completion_queue import CompletionQueueEngine
from grpc_service.engines.farewell import Farewell
from grpc_service.engines.interface import EngineSettings, MakeEngine
from grpc_service.methods import UnaryMethod
from tests.grpc_service.engines.engine_contract import Methods

SECONDS = 10.0
MONOTONIC = SystemClock().monotonic
BOTH_ENGINES = pytest.mark.parametrize("make", [AioEngine, CompletionQueueEngine])
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()


class Client:
    """A connection that does as it is asked, and not as a client should."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._encoder = Encoder()

    def call(self, stream: int, request: bytes) -> None:
        fields = [
            *((":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/t.T/Unary")),
            *(("te", "trailers"), ("content-type", "application/grpc")),
        ]
        head = HeadersFrame(stream, self._encoder.encode(fields), flags=["END_HEADERS"])
        body = DataFrame(stream, struct.pack(">BI", 0, len(request)) + request, flags=["END_STREAM"])
        self.writer.write(head.serialize() + body.serialize())

    async def frame(self, kind: type[Frame]) -> Frame:
        """The next one of this kind."""
        async with asyncio.timeout(SECONDS):
            while True:
                frame, length = Frame.parse_frame_header(memoryview(await self._reader.readexactly(9)))
                frame.parse_body(memoryview(await self._reader.readexactly(length)))
                if isinstance(frame, kind):
                    return frame


@asynccontextmanager
async def served(make: MakeEngine) -> AsyncIterator[tuple[Farewell, Client, int]]:
    methods, farewell = Methods(), Farewell(MONOTONIC)
    unary = UnaryMethod(path="/t.T/Unary", begin=methods.begin)
    engine = make(EngineSettings(methods=[unary], options=[], max_concurrent_calls=10))
    port = engine.listen("127.0.0.1:0", None)
    farewell.add(port, is_tls=False)
    await engine.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE)
    client = Client(reader, writer)
    await client.frame(SettingsFrame)  # it is accepted: what is not yet is refused with the listener
    try:
        yield farewell, client, port
    finally:
        writer.close()
        await engine.stop(grace_seconds=0)


@BOTH_ENGINES
async def test_a_call_sent_before_the_farewell_was_read_is_answered(make: MakeEngine) -> None:
    """The core alone would cancel it, as it arrives after the core's shutdown began."""
    async with served(make) as (farewell, client, _):
        client.call(1, b"now")
        await client.frame(DataFrame)
        leaving = asyncio.ensure_future(farewell.bid(seconds=SECONDS))

        asked = await client.frame(GoAwayFrame)
        client.call(3, b"now again")
        answer = await client.frame(DataFrame)
        client.writer.close()

        assert isinstance(asked, GoAwayFrame)
        assert isinstance(answer, DataFrame)
        assert 2**31 - 1 == asked.last_stream_id
        assert 0 == asked.error_code
        assert b"now againnow again" == answer.data[5:]
        assert 0 == await leaving


@BOTH_ENGINES
async def test_who_does_not_go_is_waited_for_no_longer_than_configured(make: MakeEngine) -> None:
    """And is asked once, however often it is looked at."""
    async with served(make) as (farewell, client, _):
        assert 1 == await farewell.bid(seconds=0.2)

        await client.frame(GoAwayFrame)
        client.call(1, b"now")
        frame = await client.frame(Frame)
        while not isinstance(frame, DataFrame):
            assert not isinstance(frame, GoAwayFrame)
            frame = await client.frame(Frame)


@BOTH_ENGINES
async def test_a_client_at_its_defaults_leaves_and_finds_nobody(
    make: MakeEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    """It closes its connection at once, and a new one is refused; the core has nothing to complain of."""
    async with served(make) as (farewell, client, port):
        client.writer.close()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            unary: Any = channel.unary_unary("/t.T/Unary")
            assert b"nownow" == await unary(b"now", timeout=SECONDS)

            assert 0 == await farewell.bid(seconds=SECONDS)

            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
    assert "accept" not in capfd.readouterr().err


async def test_by_tls_nobody_is_asked_but_waited_for() -> None:
    """The core asks who has become too old; until then calls are answered."""
    async with served(AioEngine) as (_, client, port):
        farewell = Farewell(MONOTONIC)
        farewell.add(port, is_tls=True)

        assert 1 == await farewell.bid(seconds=SECONDS)
        leaving = asyncio.ensure_future(farewell.bid(seconds=0, tls_seconds=SECONDS))
        client.call(1, b"now")
        frame = await client.frame(Frame)
        while not isinstance(frame, DataFrame):
            assert not isinstance(frame, GoAwayFrame)
            frame = await client.frame(Frame)
        assert not leaving.done()
        client.writer.close()

        assert 0 == await leaving


async def test_other_ports_are_left_alone() -> None:
    async with served(AioEngine) as (_, client, port):
        client.call(1, b"now")
        other = Farewell(MONOTONIC)
        other.add(1 if port != 1 else 2, is_tls=False)

        assert 0 == await other.bid(seconds=SECONDS)

        await client.frame(DataFrame)
        client.call(3, b"now")
        await client.frame(DataFrame)
