"""What every `Engine` must do, asked by a real client over a real socket."""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from grpc_service.causes import STALLED, TOO_MANY_STREAMS
from grpc_service.engines import aio, completion_queue, places
from grpc_service.engines.interface import Engine, EngineSettings
from grpc_service.errors import PublicStatus
from grpc_service.methods import Call, Later, Metadata, Refused, Reply, StreamMethod, UnaryMethod
from tests.eventually import eventually
from tests.grpc_service.ways import either
from tests.rude_client import calling

SECONDS = 10.0
MAX_BYTES = 10_000
FEW = 5
TRAILERS: Metadata = (("stigg-source", b"memory"), ("stigg-age-ms", b"12"))


class Methods:
    """What the engine under test carries, and what it saw."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.reached = asyncio.Event()
        self.left = asyncio.Event()
        self.call = Call()
        self.ended: Counter[str] = Counter()

    def answer_now(self, request: bytes) -> Reply | None:
        if request == b"refuse now":
            raise Refused(PublicStatus(grpc.StatusCode.NOT_FOUND, "not now"))
        return (request * 2, TRAILERS) if request.startswith(b"now") or not request else None

    def begin(self, request: bytes) -> Reply | Later:
        return either(self.answer_now, self.answer)(request)

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
                UnaryMethod(path="/t.T/Unary", begin=self.begin),
                StreamMethod(path="/t.T/Stream", answer=self.stream),
            ],
            options=[("grpc.max_receive_message_length", MAX_BYTES), ("grpc.so_reuseport", 0)],
            max_concurrent_calls=max_concurrent_calls,
            on_ended=lambda cause, count: self.ended.update({cause: count}),
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

    @pytest.fixture
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Few places, which are looked at often."""
        monkeypatch.setattr(places, "MAX_STALLED", FEW)
        monkeypatch.setattr(places, "MAX_STREAMS", FEW)
        for engine in (aio, completion_queue):
            monkeypatch.setattr(engine, "TICK_SECONDS", 0.05)

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

        assert code == refused.value.code()
        assert details == refused.value.details()

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

    @pytest.mark.parametrize(
        ("call", "path"),
        [
            ({"message": None}, "/t.T/Unary"),  # the headers alone
            ({"message": b"now", "window": 0}, "/t.T/Unary"),  # the reply is not read
            ({"message": b"wait", "ends": False}, "/t.T/Stream"),  # as a watcher of health
            ({"message": None}, "/t.T/Stream"),
        ],
    )
    async def test_calls_that_wait_for_their_clients_stand_in_nobody_s_way(
        self, call: dict[str, Any], path: str, few: None
    ) -> None:
        """Past the engine's bound others are answered; soon few of them are left, and those are counted."""
        async with (
            self.serving(max_concurrent_calls=40) as served,
            calling(served.port, path, calls=35, **call),
            calling(served.port, path, calls=35, **call),
        ):
            places = served.engine.places
            await eventually(lambda: places.stalled + places.streams > 20 or bool(served.methods.ended))
            replies = [await served.unary(b"now", timeout=SECONDS) for _ in range(10)]
            await eventually(lambda: bool(served.methods.ended) and places.stalled + places.streams <= FEW)

        assert [b"nownow"] * 10 == replies
        assert {STALLED, TOO_MANY_STREAMS} >= set(served.methods.ended)

    async def test_request_that_does_not_come(self, few: None, monkeypatch: pytest.MonkeyPatch) -> None:
        """One is ended in time, with a sentence; who waits for an answer meanwhile is not."""
        monkeypatch.setattr(places, "STALLED_TICKS", 3)
        async with self.serving() as served:
            waiting = asyncio.ensure_future(served.unary(b"wait", timeout=SECONDS))
            await served.methods.reached.wait()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
                silent: Any = channel.stream_unary("/t.T/Unary")(timeout=SECONDS)
                assert grpc.StatusCode.RESOURCE_EXHAUSTED is await silent.code()
                assert (
                    "the request was not sent, or its reply was not read, in time" == await silent.details()
                )
            served.methods.gate.set()

            assert b"waitwaitwait" == await waiting

        assert {STALLED: 1} == served.methods.ended

    async def test_replies_that_came_later_and_are_not_read(self, few: None) -> None:
        """What has waited for us until now waits for its client from then on."""
        async with (
            self.serving(max_concurrent_calls=100) as served,
            calling(served.port, "/t.T/Unary", calls=70, message=b"later", window=0),
        ):
            await eventually(lambda: served.methods.ended.total() >= 70 - FEW)

            assert b"nownow" == await served.unary(b"now", timeout=SECONDS)

        assert {STALLED} == set(served.methods.ended)

    async def test_client_that_reads_nothing_at_all(self, few: None, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the core has written for it stays in the way of the rest: its connection is cut."""
        monkeypatch.setattr(places, "STALLED_TICKS", 3)
        async with (
            self.serving(max_concurrent_calls=5000) as served,
            calling(served.port, "/t.T/Unary", calls=1500, message=b"now" * 800, window=2**30, is_deaf=True),
        ):
            await eventually(lambda: bool(served.methods.ended))
            await eventually(lambda: served.engine.places.leaving == 0)

            assert b"nownow" == await served.unary(b"now", timeout=SECONDS)

    @pytest.mark.parametrize("path", ["/t.T/Unary", "/t.T/Stream"])
    async def test_calls_taken_back_at_once_leave_nothing(self, path: str) -> None:
        """They may be answered or not; the engine has their places back, and ends."""
        async with self.serving(max_concurrent_calls=300) as served:
            async with calling(served.port, path, calls=200, message=b"wait", resets=True):
                assert b"nownow" == await served.unary(b"now", timeout=SECONDS)
            await asyncio.wait_for(served.engine.stop(grace_seconds=0.1), SECONDS)

    async def test_stream_of_another_outlives_a_crowd(self, few: None) -> None:
        """Who has opened one keeps it, while another opens too many, and keeps its share of them."""
        async with self.serving(max_concurrent_calls=100) as served:
            mine = served.stream()
            await mine.write(b"wait")
            assert b"wait" == await mine.read()
            async with calling(served.port, "/t.T/Stream", calls=50, message=b"wait", ends=False):
                await eventually(lambda: bool(served.methods.ended))
            served.methods.gate.set()
            await mine.done_writing()

            assert b"wait" == await mine.read()
            assert grpc.aio.EOF == await mine.read()
            assert grpc.StatusCode.OK is await mine.code()

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

    async def test_deadline_is_passed_to_the_method(self) -> None:
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
    """The engine learns of a call's end a moment after its caller."""
    async with asyncio.timeout(SECONDS):
        while True:
            call = served.unary(b"now", timeout=SECONDS)
            if await call.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                reply: bytes = await call
                return reply
