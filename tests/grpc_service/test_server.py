"""The server's bounds and its stop, on real sockets; a scripted use case shows what real parts cannot."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NoReturn, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hpack import Encoder
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, SettingsFrame

from entitlements import metrics
from entitlements.deferred_metrics import settle_all
from entitlements.domain.decision import Decision, Query
from entitlements.domain.entitlement import EntitlementKind
from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import KeyRefused, SidecarError
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.ports import Source
from entitlements.service.answers import Answer, Provenance
from entitlements.service.cache_maintenance import CacheMaintenance
from entitlements.service.reader import EntitlementReader
from entitlements.service.response_cache import ResponseCache
from entitlements.service.usage_reporter import UsageReporter
from grpc_service.engines.aio import AioEngine
from grpc_service.engines.completion_queue import CompletionQueueEngine
from grpc_service.engines.interface import MakeEngine
from grpc_service.errors import UNEXPECTED
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.server import MAX_METADATA_BYTES, GrpcServer, PortUnavailable, ServerLimits
from grpc_service.servicer import SidecarServicer
from tests.builders import a_boolean_feature
from tests.harness import Client

LIMITS = ServerLimits(max_message_bytes=10_000, max_concurrent_calls=3)
PINGS_TOO_MANY = 6
"""gRPC forgives some that come too early, and then cuts the connection."""
REQUEST = pb.GetBooleanEntitlementRequest(customer_id="c", feature_id="flag")
GRANTED = Answer(
    decision=Decision(
        has_access=True,
        reason=None,
        kind=EntitlementKind.BOOLEAN,
        basis=a_boolean_feature(),
        id="flag",
    ),
    provenance=Provenance(source=Source.MEMORY),
)
BY_FALLBACK = Answer(
    decision=Decision(has_access=False, kind=EntitlementKind.BOOLEAN, basis=FallbackValue(), id="flag"),
    provenance=Provenance(source=Source.FALLBACK),
)


class Gated:
    """Lets calls through when it is asked to."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = 0
        self.news = asyncio.Condition()

    async def pass_gate(self) -> None:
        async with self.news:
            self.under_way += 1
            self.news.notify_all()
        await self.gate.wait()

    async def until_under_way(self, count: int) -> None:
        async with asyncio.timeout(5), self.news:
            await self.news.wait_for(lambda: self.under_way >= count)


class ScriptedReader(Gated):
    """Answers when it is let, or fails."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.answer = GRANTED

    def check_held(self, _query: Query) -> Answer | None:
        return None

    def list_held(self, _key: object) -> None:
        return None

    async def list_later(self, key: EntityKey, _found: object) -> NoReturn:
        raise AssertionError(key)

    def check_unasked(self, _query: Query) -> Answer:
        return BY_FALLBACK

    def list_unasked(self, key: EntityKey) -> NoReturn:
        raise AssertionError(key)

    async def check_later(self, _query: Query, _found: object) -> Answer:
        await self.pass_gate()
        if self.failure is not None:
            raise self.failure
        return self.answer


class EmptyResponseCache:
    """Has every call decided."""

    def recall(self, _question: object) -> None:
        return None

    def is_asked_again(self, *_: object) -> bool:
        return False


class ScriptedReporter(Gated):
    """Fails, when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception = KeyRefused("api")

    async def report_usage(self, *_: Any, **__: Any) -> None:
        await self.pass_gate()
        raise self.failure


Serve = tuple[Client, GrpcServer, int]


@asynccontextmanager
async def serving(
    reader: ScriptedReader,
    usage_reporter: ScriptedReporter,
    limits: ServerLimits = LIMITS,
    make_engine: MakeEngine = AioEngine,
) -> AsyncIterator[Serve]:
    servicer = SidecarServicer(
        reader=cast("EntitlementReader", reader),
        response_cache=cast("ResponseCache", EmptyResponseCache()),
        usage_reporter=cast("UsageReporter", usage_reporter),
        maintenance=cast("CacheMaintenance", object()),
        new_idempotency_key=lambda: "key",
        sends_provenance=True,
    )
    server = GrpcServer(servicer, limits=limits, make_engine=make_engine)
    port = server.listen("127.0.0.1", 0)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Client(channel), server, port
    finally:
        await server.stop(grace_seconds=0)


@pytest.fixture
def reader() -> ScriptedReader:
    return ScriptedReader()


@pytest.fixture
def usage_reporter() -> ScriptedReporter:
    return ScriptedReporter()


@pytest.fixture
async def served(reader: ScriptedReader, usage_reporter: ScriptedReporter) -> AsyncIterator[Serve]:
    async with serving(reader, usage_reporter) as served:
        yield served


async def status_of(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_a_message_that_is_too_large_is_refused_and_others_go_on(served: Serve) -> None:
    client, _, _ = served
    request = pb.GetBooleanEntitlementRequest(customer_id="x" * 20_000, feature_id="f")

    code, _ = await status_of(client.GetBooleanEntitlement(request))

    assert grpc.StatusCode.RESOURCE_EXHAUSTED is code
    assert (await client.GetBooleanEntitlement(REQUEST)).has_access


async def test_one_read_too_many_has_its_fallback_and_nobody_is_refused(
    served: Serve, reader: ScriptedReader
) -> None:
    """Reads wait up to the bound; past it and beside it, on the same connection, health answers at once."""
    client, _, port = served
    reader.gate.clear()
    calls = [asyncio.ensure_future(client.GetBooleanEntitlement(REQUEST)) for _ in range(3)]
    await reader.until_under_way(3)

    past = await client.GetBooleanEntitlement(REQUEST, timeout=5)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        checked = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
    reader.gate.set()

    assert past.is_fallback
    assert not past.has_access
    assert health_pb2.HealthCheckResponse.SERVING == checked.status
    assert all(answer.has_access for answer in await asyncio.gather(*calls))


async def test_one_write_too_many_is_refused(served: Serve, usage_reporter: ScriptedReporter) -> None:
    """And reads still have room."""
    client, _, _ = served
    usage_reporter.gate.clear()
    request = pb.ReportUsageRequest(customer_id="c", feature_id="f", value=1)
    calls = [asyncio.ensure_future(status_of(client.ReportUsage(request))) for _ in range(3)]
    await usage_reporter.until_under_way(3)

    code, _ = await status_of(client.ReportUsage(request))
    answer = await client.GetBooleanEntitlement(REQUEST, timeout=5)
    usage_reporter.gate.set()

    assert grpc.StatusCode.RESOURCE_EXHAUSTED is code
    assert answer.has_access
    assert {grpc.StatusCode.UNAUTHENTICATED} == {code for code, _ in await asyncio.gather(*calls)}


@pytest.mark.parametrize("make_engine", [AioEngine, CompletionQueueEngine])
async def test_thousands_of_reads_at_once_are_all_answered(
    reader: ScriptedReader, usage_reporter: ScriptedReporter, make_engine: MakeEngine
) -> None:
    """On one channel: the core neither refuses streams nor cancels what it has not handed over yet."""
    limits = replace(LIMITS, max_concurrent_calls=5000)
    async with serving(reader, usage_reporter, limits, make_engine) as (client, _, _):
        codes = await asyncio.gather(
            *(client.GetBooleanEntitlement(REQUEST, timeout=60).code() for _ in range(4000))
        )

    assert {grpc.StatusCode.OK} == set(codes)


async def test_a_header_bomb_is_refused(served: Serve) -> None:
    client, _, _ = served

    with pytest.raises(grpc.aio.AioRpcError):
        await client.GetBooleanEntitlement(REQUEST, metadata=(("x", "y" * (MAX_METADATA_BYTES * 4)),))

    assert (await client.GetBooleanEntitlement(REQUEST)).has_access


async def test_the_bound_of_metadata_is_where_it_is_said(served: Serve) -> None:
    """60 KiB are taken, what is beyond the bound never is: by default gRPC tosses a coin in between."""
    _, _, port = served

    async def code_of(size: int, *, calls_before: int) -> grpc.StatusCode:
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            client = Client(channel)
            for _ in range(calls_before):
                await client.GetBooleanEntitlement(REQUEST, timeout=5)
            call: Any = client.GetBooleanEntitlement(REQUEST, metadata=(("x", "y" * size),), timeout=5)
            return cast("grpc.StatusCode", await call.code())

    for size, code in ((60 * 1024, grpc.StatusCode.OK), (65 * 1024, grpc.StatusCode.RESOURCE_EXHAUSTED)):
        for calls_before in (0, 1):
            codes = {await code_of(size, calls_before=calls_before) for _ in range(8)}

            assert {code} == codes


async def test_a_client_that_pings_every_second_while_its_call_waits_is_served(
    served: Serve, reader: ScriptedReader
) -> None:
    _, _, port = served
    reader.gate.clear()
    answers, writer = await asyncio.open_connection("127.0.0.1", port)
    message = struct.pack(">BI", 0, REQUEST.ByteSize()) + REQUEST.SerializeToString()
    fields = [
        *((":method", "POST"), (":scheme", "http"), (":authority", "x"), ("te", "trailers")),
        (":path", "/stigg.sidecar.v1.SidecarService/GetBooleanEntitlement"),
        ("content-type", "application/grpc"),
    ]
    call = (
        SettingsFrame(0),
        HeadersFrame(1, Encoder().encode(fields), flags=["END_HEADERS"]),
        DataFrame(1, message, flags=["END_STREAM"]),
    )
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(frame.serialize() for frame in call))
    await reader.until_under_way(1)

    for _ in range(PINGS_TOO_MANY):
        writer.write(PingFrame(0, b"12345678").serialize())
        await asyncio.sleep(0.6)  # the pace is what is tested
    reader.gate.set()

    async with asyncio.timeout(5):
        answer = await answers.readuntil(b"grpc-status")
    assert b"too_many_pings" not in answer
    writer.close()
    await writer.wait_closed()


async def test_an_answer_may_be_larger_than_what_is_taken(served: Serve, reader: ScriptedReader) -> None:
    client, _, _ = served
    feature = replace(a_boolean_feature().feature, id="f" * (LIMITS.max_message_bytes * 2))
    reader.answer = replace(
        GRANTED, decision=replace(GRANTED.decision, basis=replace(a_boolean_feature(), feature=feature))
    )

    answer = await client.GetBooleanEntitlement(REQUEST)

    assert feature.id == answer.entitlement.feature.id


@pytest.mark.parametrize("failure", [RuntimeError("secret"), KeyError("secret"), SidecarError("secret")])
async def test_the_text_of_an_exception_never_reaches_a_caller(
    served: Serve, reader: ScriptedReader, failure: Exception
) -> None:
    client, _, _ = served
    reader.failure = failure

    assert (grpc.StatusCode.INTERNAL, UNEXPECTED) == await status_of(client.GetBooleanEntitlement(REQUEST))


async def test_a_write_fails_with_the_status_of_its_error(served: Serve) -> None:
    client, _, _ = served
    request = pb.ReportUsageRequest(customer_id="c", feature_id="f", value=1)

    code, details = await status_of(client.ReportUsage(request))

    assert grpc.StatusCode.UNAUTHENTICATED is code
    assert "refused the API key" in details


async def test_garbage_instead_of_a_message_is_refused(served: Serve) -> None:
    """And nobody else notices."""
    _, _, port = served
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary("/stigg.sidecar.v1.SidecarService/GetBooleanEntitlement")

        code, _ = await status_of(call(b"\xff\xff\xff\xff"))

    assert grpc.StatusCode.INTERNAL is code or grpc.StatusCode.INVALID_ARGUMENT is code


async def test_calls_are_counted_by_method_and_code(served: Serve, reader: ScriptedReader) -> None:
    client, _, _ = served

    def counted(code: str) -> float:
        settle_all()
        return float(metrics.GRPC_REQUESTS.labels("GetBooleanEntitlement", code)._value.get())

    before = counted("OK"), counted("INTERNAL")
    await client.GetBooleanEntitlement(REQUEST)
    reader.failure = RuntimeError()
    await status_of(client.GetBooleanEntitlement(REQUEST))

    assert before[0] + 1 == counted("OK")
    assert before[1] + 1 == counted("INTERNAL")


async def test_a_caller_that_gives_up_is_counted_as_such(served: Serve, reader: ScriptedReader) -> None:
    client, _, _ = served
    reader.gate.clear()

    code, _ = await status_of(client.GetBooleanEntitlement(REQUEST, timeout=0.2))

    assert grpc.StatusCode.DEADLINE_EXCEEDED is code


async def test_a_graceful_stop_lets_calls_under_way_end(served: Serve, reader: ScriptedReader) -> None:
    client, server, _ = served
    reader.gate.clear()
    call = asyncio.ensure_future(client.GetBooleanEntitlement(REQUEST))
    await reader.until_under_way(1)

    stopping = asyncio.create_task(server.stop(grace_seconds=5))
    reader.gate.set()

    assert (await call).has_access
    await stopping
    await server.stop(grace_seconds=0)


async def test_clients_are_asked_to_go_before_the_server_stops(served: Serve) -> None:
    """By a GOAWAY that refuses nothing and gives no reason; the core's own, with the stop, gives one."""
    _, server, port = served
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize())
    await reader.readexactly(9)

    stopping = asyncio.create_task(server.stop(grace_seconds=5))
    reported = await asyncio.wait_for(reader.readuntil(GoAwayFrame(0, 2**31 - 1).serialize()), 5)
    writer.close()
    await stopping

    assert b"Server shutdown" not in reported


async def test_a_call_that_outlasts_the_grace_is_cut(served: Serve, reader: ScriptedReader) -> None:
    client, server, _ = served
    reader.gate.clear()
    call = asyncio.ensure_future(client.GetBooleanEntitlement(REQUEST))
    await reader.until_under_way(1)

    await server.stop(grace_seconds=0.1)

    code, _ = await status_of(call)
    assert code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def test_a_taken_port_is_one_clear_sentence(
    reader: ScriptedReader, usage_reporter: ScriptedReporter
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with serving(reader, usage_reporter) as (_, server, _):
            with pytest.raises(PortUnavailable, match=f"cannot listen on 127.0.0.1 port {port}: it is taken"):
                server.listen("127.0.0.1", port)


async def test_an_old_connection_is_asked_to_come_anew(
    reader: ScriptedReader, usage_reporter: ScriptedReporter
) -> None:
    """HTTP/2 says so with GOAWAY; a client opens another connection, perhaps to another instance."""
    limits = replace(LIMITS, max_connection_age_seconds=0.5)
    async with serving(reader, usage_reporter, limits) as (_, _, port), asyncio.timeout(15):
        answers, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))

        received = await answers.readuntil(b"max_age")

        assert received.endswith(b"max_age")
        writer.close()
        await writer.wait_closed()
