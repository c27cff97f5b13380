"""What every `Engine` must do, asked by a real client over a real socket."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from grpc_service.engines.interface import Engine, EngineSettings
from grpc_service.errors import PublicStatus
from grpc_service.methods import Call, Metadata, Refused, Reply, StreamMethod, UnaryMethod

SECONDS = 10.0
MAX_BYTES = 10_000
TRAILERS: Metadata = (("stigg-source", b"memory"), ("stigg-age-ms", b"12"))


class Methods:
    """What the engine under test carries, and what it saw."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.reached = asyncio.Event()
        self.left = asyncio.Event()
        self.call = Call()

    def answer_now(self, request: bytes) -> Reply | None:
        if request == b"refuse now":
            raise Refused(PublicStatus(grpc.StatusCode.NOT_FOUND, "not now"))
        return (request * 2, TRAILERS) if request.startswith(b"now") or not request else None

    async def answer(self, request: bytes, call: Call) -> Reply:
        self.call = call
        if request == b"refuse later":
            raise Refused(PublicStatus(grpc.StatusCode.OUT_OF_RANGE, "not later ☂"))
        if request == b"wait":
            self.reached.set()
            try:
                await self.gate.wait()
            finally:
                self.left.set()
        return request * 3, TRAILERS

    async def stream(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for request in requests:
            if request == b"refuse":
                raise Refused(PublicStatus(grpc.StatusCode.ABORTED, "enough"))
            yield request
            yield request
            if request == b"wait":
                self.reached.set()
                try:
                    await self.gate.wait()
                finally:
                    self.left.set()

    def settings(self, *, max_concurrent_calls: int) -> EngineSettings:
        return EngineSettings(
            methods=[
                UnaryMethod(path="/t.T/Unary", answer=self.answer, answer_now=self.answer_now),
                StreamMethod(path="/t.T/Stream", answer=self.stream),
            ],
            options=[("grpc.max_receive_message_length", MAX_BYTES), ("grpc.so_reuseport", 0)],
            max_concurrent_calls=max_concurrent_calls,
        )


class Served:
    """A running engine and a client of it."""

    def __init__(self, engine: Engine, methods: Methods, channel: grpc.aio.Channel, port: int) -> None:
        self.engine = engine
        self.methods = methods
        self.port = port
        self.unary: Any = channel.unary_unary("/t.T/Unary")
        self.stream: Any = channel.stream_stream("/t.T/Stream")
        self.unknown: Any = channel.unary_unary("/t.T/Unknown")


class EngineContract(ABC):
    """Inherited by the test of each engine."""

    @abstractmethod
    def make(self, settings: EngineSettings) -> Engine:
        """The engine under test."""

    @asynccontextmanager
    async def serving(
        self, *, max_concurrent_calls: int = 10, compression: grpc.Compression | None = None
    ) -> AsyncIterator[Served]:
        methods = Methods()
        engine = self.make(methods.settings(max_concurrent_calls=max_concurrent_calls))
        port = engine.listen("127.0.0.1:0", None)
        await engine.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", compression=compression) as channel:
                yield Served(engine, methods, channel, port)
        finally:
            await engine.stop(grace_seconds=0)

    @pytest.mark.parametrize(
        ("request_", "reply"), [(b"now", b"nownow"), (b"later", b"laterlaterlater"), (b"", b"")]
    )
    async def test_reply_and_trailers(self, request_: bytes, reply: bytes) -> None:
        """What is answered at once and what is answered later look the same; no bytes are a message too."""
        async with self.serving() as served:
            call = served.unary(request_, timeout=SECONDS)

            assert reply == await call
            assert (("stigg-source", "memory"), ("stigg-age-ms", "12")) == tuple(
                await call.trailing_metadata()
            )
            assert grpc.StatusCode.OK is await call.code()

    @pytest.mark.parametrize(
        ("request_", "code", "details"),
        [
            (b"refuse now", grpc.StatusCode.NOT_FOUND, "not now"),
            (b"refuse later", grpc.StatusCode.OUT_OF_RANGE, "not later ☂"),
        ],
    )
    async def test_refusal(self, request_: bytes, code: grpc.StatusCode, details: str) -> None:
        """A refusal's status and sentence reach the caller."""
        async with self.serving() as served:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await served.unary(request_, timeout=SECONDS)

        assert (code, details) == (refused.value.code(), refused.value.details())

    async def test_metadata_of_a_call(self) -> None:
        """Whoever answers later may read what the caller sent beside its request."""
        async with self.serving() as served:
            await served.unary(b"later", timeout=SECONDS, metadata=(("x-request-id", "r-1"),))

            sent = {key: value for key, value in served.methods.call.metadata if key == "x-request-id"}

        assert {"x-request-id": "r-1"} == sent

    async def test_unknown_method(self) -> None:
        """UNIMPLEMENTED, and the others go on."""
        async with self.serving() as served:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await served.unknown(b"", timeout=SECONDS)
            assert b"nownow" == await served.unary(b"now", timeout=SECONDS)

        assert grpc.StatusCode.UNIMPLEMENTED is refused.value.code()

    async def test_many_at_once(self) -> None:
        """More calls at once than the engine awaits, half of them over the loop."""
        async with self.serving(max_concurrent_calls=1000) as served:
            requests = [f"{'now' if number % 2 else 'later'} {number}".encode() for number in range(300)]
            replies = await asyncio.gather(*(served.unary(each, timeout=SECONDS) for each in requests))

        expected = [each * (2 if each.startswith(b"now") else 3) for each in requests]
        assert expected == replies

    async def test_call_past_the_bound(self) -> None:
        """RESOURCE_EXHAUSTED at once; once a call has ended there is room again."""
        async with self.serving(max_concurrent_calls=1) as served:
            first = asyncio.ensure_future(served.unary(b"wait", timeout=SECONDS))
            await served.methods.reached.wait()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await served.unary(b"now", timeout=SECONDS)
            served.methods.gate.set()
            assert b"waitwaitwait" == await first
            assert b"nownow" == await _once_there_is_room(served)

        assert grpc.StatusCode.RESOURCE_EXHAUSTED is refused.value.code()

    async def test_message_past_the_bound(self) -> None:
        """RESOURCE_EXHAUSTED, and the others go on."""
        async with self.serving() as served:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await served.unary(b"now" * MAX_BYTES, timeout=SECONDS)
            assert b"nownow" == await served.unary(b"now", timeout=SECONDS)

        assert grpc.StatusCode.RESOURCE_EXHAUSTED is refused.value.code()

    async def test_compressed_requests(self) -> None:
        """A compressed request is read as any other."""
        async with self.serving(compression=grpc.Compression.Gzip) as served:
            request = b"now" * 1000

            assert request * 2 == await served.unary(request, timeout=SECONDS)

    async def test_deadline_is_told_to_the_method(self) -> None:
        """The seconds that the caller's deadline leaves; None without one."""
        async with self.serving() as served:
            await served.unary(b"later", timeout=SECONDS)
            with_deadline = served.methods.call.remaining_seconds
            await served.unary(b"later")

            assert with_deadline is not None
            assert SECONDS / 2 < with_deadline <= SECONDS + 1
            assert served.methods.call.remaining_seconds is None

    async def test_deadline_ends_the_work(self) -> None:
        """A method is cancelled when its caller's deadline passes."""
        async with self.serving() as served:
            with pytest.raises(grpc.aio.AioRpcError) as late:
                await served.unary(b"wait", timeout=0.3)
            await asyncio.wait_for(served.methods.left.wait(), SECONDS)

        assert grpc.StatusCode.DEADLINE_EXCEEDED is late.value.code()

    async def test_cancellation_ends_the_work(self) -> None:
        """A method is cancelled when its caller goes away, and the call does not count any more."""
        async with self.serving(max_concurrent_calls=1) as served:
            call = served.unary(b"wait")
            await asyncio.wait_for(served.methods.reached.wait(), SECONDS)
            call.cancel()
            await asyncio.wait_for(served.methods.left.wait(), SECONDS)

            assert b"nownow" == await _once_there_is_room(served)

    async def test_stream(self) -> None:
        """Two replies to each request, in order, then OK."""
        async with self.serving() as served:
            call = served.stream(iter([b"a", b"b"]), timeout=SECONDS)

            assert [b"a", b"a", b"b", b"b"] == [reply async for reply in call]
            assert grpc.StatusCode.OK is await call.code()

    async def test_stream_without_replies(self) -> None:
        """A stream may end before it said anything."""
        async with self.serving() as served:
            call = served.stream(iter([]), timeout=SECONDS)

            assert [] == [reply async for reply in call]
            assert grpc.StatusCode.OK is await call.code()

    @pytest.mark.parametrize("before", [[], [b"a"]])
    async def test_refused_stream(self, before: list[bytes]) -> None:
        """A stream ends with its refusal, whether it has begun or not."""
        async with self.serving() as served:
            call = served.stream(iter([*before, b"refuse"]), timeout=SECONDS)
            with pytest.raises(grpc.aio.AioRpcError):
                async for _ in call:
                    pass

            assert grpc.StatusCode.ABORTED is await call.code()
            assert "enough" == await call.details()

    async def test_cancelled_stream(self) -> None:
        """A stream's method is cancelled when its caller goes away."""
        async with self.serving() as served:
            call = served.stream(iter([b"wait"]))
            assert b"wait" == await call.read()
            await asyncio.wait_for(served.methods.reached.wait(), SECONDS)
            call.cancel()

            await asyncio.wait_for(served.methods.left.wait(), SECONDS)

    async def test_stop_lets_calls_end(self) -> None:
        """Within the grace period a call ends as if nothing were; new ones are not taken."""
        async with self.serving() as served:
            call = asyncio.ensure_future(served.unary(b"wait", timeout=SECONDS))
            await asyncio.wait_for(served.methods.reached.wait(), SECONDS)
            stopping = asyncio.ensure_future(served.engine.stop(grace_seconds=SECONDS))
            await asyncio.sleep(0)
            served.methods.gate.set()

            assert b"waitwaitwait" == await call
            await asyncio.wait_for(stopping, SECONDS)
            with pytest.raises(grpc.aio.AioRpcError):
                await served.unary(b"now", timeout=1)

    async def test_stop_ends_calls_after_the_grace(self) -> None:
        """A call that does not end is ended; stopping twice is stopping once."""
        async with self.serving() as served:
            call = asyncio.ensure_future(served.unary(b"wait", timeout=SECONDS))
            await asyncio.wait_for(served.methods.reached.wait(), SECONDS)
            await asyncio.wait_for(served.engine.stop(grace_seconds=0.1), SECONDS)

            with pytest.raises(grpc.aio.AioRpcError):
                await call
            await asyncio.wait_for(served.methods.left.wait(), SECONDS)
            await asyncio.wait_for(served.engine.stop(grace_seconds=0.1), SECONDS)

    async def test_stop_without_grace_time_and_again(self) -> None:
        """However the end of the server and the end of the grace period fall together."""
        for _ in range(50):
            async with self.serving() as served:
                assert b"nownow" == await served.unary(b"now", timeout=SECONDS)
                stops = [served.engine.stop(grace_seconds=seconds) for seconds in (0, 0.0005, 0.001)]
                await asyncio.wait_for(asyncio.gather(*stops), SECONDS)

    async def test_taken_port(self) -> None:
        """A port that is taken is an error, not shared in silence."""
        async with self.serving() as served:
            other = self.make(Methods().settings(max_concurrent_calls=1))
            with pytest.raises(RuntimeError):
                other.listen(f"127.0.0.1:{served.port}", None)
            await other.stop(grace_seconds=0)


async def _once_there_is_room(served: Served) -> bytes:
    """The engine hears of a call's end a moment after its caller."""
    async with asyncio.timeout(SECONDS):
        while True:
            call = served.unary(b"now", timeout=SECONDS)
            if await call.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                reply: bytes = await call
                return reply
