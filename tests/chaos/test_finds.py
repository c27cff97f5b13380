"""What fuzzing found, each with its story; the fix lies where the test's name points."""

import asyncio
import gzip
import json
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any, cast

import grpc
import pytest

from entitlements.cache.snapshot_file import entity_of
from entitlements.cache.tiers import Miss, Shared
from entitlements.domain.entity import EntityKey, UsageUpdate
from entitlements.domain.errors import Garbled, InvalidRequest
from entitlements.domain.evaluation import evaluate_list
from entitlements.domain.usage import UsageEvent, UsageReport, validate_events
from entitlements.json_fields import Malformed
from entitlements.outbox.codec import Unreadable, decode
from entitlements.redis.keys import KeySpace
from entitlements.service.usage_notes import UsageNotes
from entitlements.upstream.errors import error_of_errors
from entitlements.upstream.exchange import MAX_BODY_BYTES, Exchange
from entitlements.upstream.feed_payloads import event_from_frame
from entitlements.upstream.offline_document import InvalidOfflineFile, read_offline_file
from entitlements.upstream.payloads import entity_from_entitlements
from grpc_service.engines.aio import AioEngine
from grpc_service.engines.completion_queue import CompletionQueueEngine
from grpc_service.engines.interface import EngineSettings, MakeEngine
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.methods import Reply, UnaryMethod, on_loop
from grpc_service.translation.responses import state_response
from tests.builders import NOW_MS, a_boolean_feature, an_entity, an_event
from tests.chaos import targets
from tests.chaos.fuzz_http2 import path_of_no_text
from tests.chaos.hostile_cloud import GOOD, HostileCloud, bomb, plain
from tests.fakes import FakeClock
from tests.redis.parts import a_connection, a_tier, put, taken
from tests.redis_server import RedisServer
from tests.upstream.parts import a_share, a_transport

KEYS = KeySpace(prefix="production")


@pytest.mark.parametrize(
    "key",
    [
        EntityKey("a:r_b"),
        EntityKey("a:r_b", "c"),
        EntityKey("a", "b:r_c"),
        EntityKey("a:f_f"),
        EntityKey("a", "b:f_f"),
        EntityKey("a:credit_c"),
        EntityKey("a:metadata"),
        EntityKey("a", "b:metadata"),
        EntityKey("a#timestamp"),
        EntityKey("a:metadata#timestamp"),
    ],
)
async def test_a_customer_is_never_answered_what_another_has_in_redis(key: EntityKey) -> None:
    """Customer `a:r_b` got the entitlements of resource b of customer a: in Redis both have one name.

    The layout is a contract and cannot distinguish them, so such an entity is neither read there nor written.
    Others' keys, which have those names by right, stay as they are.
    """
    with RedisServer() as server:
        connection = a_connection(server.url)
        try:
            tier = a_tier(connection)
            rightful = [EntityKey("a"), EntityKey("a", "b"), EntityKey("a:r", "_b"), EntityKey("a:", "b")]
            for each in rightful:
                await put(tier, each, an_entity(a_boolean_feature(repr(each))))
            before = server.texts()

            await put(tier, key, an_entity(a_boolean_feature("mine")))
            await tier.drop(key)

            assert Miss.ABSENT is await taken(tier, key)
            assert Shared.MISSING is await tier.apply_usage(key, UsageUpdate(feature_id="m", current=1))
            assert before == server.texts()
            for each in rightful:
                assert an_entity(a_boolean_feature(repr(each))) == await taken(tier, each)
        finally:
            connection.stop()


def test_only_such_ids_are_left_out_of_redis() -> None:
    """Colons, hashes and slashes are common in ids."""
    for id_ in ("a:b", "org#1", "a/b", "a:metadata:b", "r_b", "f_", "credit_c", "a#timestamps"):
        assert not KEYS.is_ambiguous(EntityKey(id_))
        assert not KEYS.is_ambiguous(EntityKey("a", id_))


@pytest.mark.parametrize("resource_id", [5, True, ["b"], {"id": "b"}, "b\ud800"])
@pytest.mark.parametrize("subscription", ["entitlementsUpdatedV2", "usageUpdatedV2"])
def test_a_resources_news_is_not_its_customers(subscription: str, resource_id: object) -> None:
    """An event whose `resourceId` was no string was applied to the customer as a whole: it lost its set."""
    assert None is _reported(
        subscription,
        customerId="a",
        resourceId=resource_id,
        entitlements=[],
        entitlementReference={"id": "m"},
        usage={"currentUsage": 1},
    )


def test_an_id_is_not_fixed_into_anothers() -> None:
    """Of `a` with half a surrogate pair behind it became `a?`, who may be another customer."""
    assert None is _reported("entitlementsUpdatedV2", customerId="a\ud800", entitlements=[])
    entity = entity_from_entitlements(
        [{"__typename": "FeatureEntitlement", "feature": {"refId": "f\ud800", "featureType": "BOOLEAN"}}],
        None,
        now_ms=NOW_MS,
    )
    assert {} == dict(entity.features)


@pytest.mark.parametrize("moment", ["1e999", "-1e999", "Infinity"])
def test_a_snapshot_of_no_time_does_not_stop_the_start(moment: str) -> None:
    """One line with an infinite date raised OverflowError when the file was opened: no start."""
    line = b'{"customer_id":"a","resource_id":null,"confirmed_ms":%s}\t{}\t{}\n' % moment.encode()
    targets.snapshot(line)
    with pytest.raises(Malformed):
        entity_of(b'{"updated_at_ms":%s}\t{}\t{}\n' % moment.encode())


@pytest.mark.parametrize(
    "value",
    ["0x" + "f" * 5000, '!!int ""', '!!int "-"', '!!float ""', "!!bool x", "!!timestamp x", "9" * 5000],
)
@pytest.mark.parametrize(
    "document",
    [
        "customers: {a: {entitlementsV2: [{__typename: FeatureEntitlement, validUntil: %s,"
        " feature: {refId: f, featureType: BOOLEAN}}]}}",
        "customers: {a: {entitlementsV2: [{__typename: %s}]}}",
        "customers: {? %s : {}}",
        "customers: {a: {resources: {? %s : {}}}}",
    ],
)
def test_a_value_of_yaml_that_is_none_is_reported(document: str, value: str, tmp_path: Path) -> None:
    """A value that is not what its tag says ended the task that reads the file anew, or the start.

    PyYAML lets out IndexError, KeyError or AttributeError for it, and a number of 5,000 digits could not be
    written into the sentence about it; no later change was seen any more.
    """
    path = tmp_path / "offline.yaml"
    path.write_text(document % value)

    with pytest.raises(InvalidOfflineFile) as raised:
        read_offline_file(path, now_ms=NOW_MS)

    assert "offline.yaml: " in str(raised.value)


_EVENT: dict[str, Any] = {
    "customer": "a",
    "resource": None,
    "key": "k",
    "dimensions": {},
    "event": "e",
    "at": 1,
}
_REPORT: dict[str, Any] = {**_EVENT, "feature": "f", "value": 1, "behavior": None}
del _REPORT["event"]
_NO_MOMENTS: tuple[Any, ...] = ("x", 1e300, 10**20, -1, [])
_NO_DIMENSIONS: tuple[Any, ...] = (None, [], {}, float("nan"), 10**400, "\ud800")
_NO_NUMBERS: tuple[Any, ...] = ("1", None, True, float("inf"), 10**400)


@pytest.mark.parametrize(
    "spoiled",
    [
        *({**_EVENT, name: 5} for name in ("customer", "resource", "key", "dimensions", "event")),
        *({**_EVENT, "at": at} for at in _NO_MOMENTS),
        *({**_EVENT, "dimensions": {"d": value}} for value in _NO_DIMENSIONS),
        *({**_REPORT, "value": value} for value in _NO_NUMBERS),
        {**_EVENT, "customer": "\ud800"},
    ],
)
def test_an_entry_of_the_outbox_is_whole_or_unreadable(spoiled: dict[str, Any]) -> None:
    """One entry with a field of the wrong type stopped all that waited behind it for good.

    It was taken, and could then not be sent: delivery failed every few seconds. Now it is a dead letter.
    """
    assert "e" == cast("UsageEvent", decode(json.dumps(_EVENT))).event_name
    assert 1 == cast("UsageReport", decode(json.dumps(_REPORT))).value
    with pytest.raises(Unreadable):
        decode(json.dumps(spoiled))


def _nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("meta_data", [_nested(30), _nested(45), {"a": 10**400}, {"a": [[[[_nested(12)]]]]}])
def test_meta_data_never_costs_the_answer(meta_data: dict[str, Any]) -> None:
    """Meta data that cannot be sent is left out of the answer.

    Nested 35 deep it could be read by no client (protobuf reads 100 levels); a number larger than a double
    ended the call as INTERNAL.
    """
    credit = {
        "__typename": "CreditEntitlement",
        "currency": {"currencyId": "c", "additionalMetaData": meta_data},
    }
    entity = entity_from_entitlements([credit], None, now_ms=NOW_MS)
    answer = state_response(evaluate_list(entity, now_ms=NOW_MS)).SerializeToString()

    (entitlement,) = pb.GetEntitlementsStateV2Response.FromString(answer).entitlements
    assert "c" == entitlement.credit.currency.currency_id
    assert not entitlement.credit.currency.HasField("additional_meta_data")


@pytest.mark.parametrize("field", ["units", "description"])
def test_half_a_surrogate_pair_in_redis_costs_no_answer(field: str) -> None:
    """JSON can name it, protobuf refuses it: each read of the customer ended as INTERNAL."""
    feature = {"id": "f", "featureType": "BOOLEAN", field: "x\ud800"}
    targets.redis(json.dumps({"f": {"calculatedEntitlement": {"feature": feature}}}).encode())
    feature = {"id": "f\ud800", "featureType": "BOOLEAN"}
    targets.redis(json.dumps({"f": {"calculatedEntitlement": {"feature": feature}}}).encode())


def test_what_is_sent_back_fits_into_a_status() -> None:
    """A dimension's name of a megabyte, or a trace id, made a status that no client could receive."""
    with pytest.raises(InvalidRequest) as raised:
        validate_events([an_event(dimensions={"x" * 1_000_000: float("nan")})])
    assert len(str(raised.value)) < 1000
    reported = error_of_errors(
        "api", [{"message": "", "extensions": {"code": "y" * 100_000, "traceId": "z" * 100_000}}]
    )
    assert len(str(reported)) < 1000


def test_a_feature_and_a_currency_of_one_name_have_a_note_each() -> None:
    """What was sent of a balance during a fetch replaced what was sent of the feature of that name."""
    notes = UsageNotes()
    feature = UsageUpdate(feature_id="x", current=1, updated_at_ms=1)
    currency = UsageUpdate(currency_id="x", current=2, updated_at_ms=2)
    for update in (feature, currency):
        notes.note(EntityKey("a"), update)

    assert [feature, currency] == list(notes.take(EntityKey("a")))


def _reported(subscription: str, **data: Any) -> object:
    return event_from_frame(
        subscription, json.dumps({"payload": {"data": {subscription: data}}}), now_ms=NOW_MS
    )


async def test_a_zipped_bomb_is_not_inflated() -> None:
    """Of 64 kB on the wire httpx made 64 MB at once, for each fetch under way: 64 of them, 4 GB."""
    async with HostileCloud(bomb(100)) as cloud, a_transport() as http:
        exchange = Exchange(http, transport="edge", clock=FakeClock(), share=a_share())
        tracemalloc.start()
        try:
            with pytest.raises(Garbled):
                await exchange.data("GET", cloud.url, timeout_seconds=10)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak_bytes < 4 * MAX_BODY_BYTES

        cloud.body = plain(gzip.compress(GOOD), b"Content-Encoding: gzip")
        assert "entitlementsState" in await exchange.data("GET", cloud.url, timeout_seconds=10)
        for body in (plain(GOOD, b"Content-Encoding: br"), plain(GOOD, b"Content-Encoding: gzip")):
            cloud.body = body
            with pytest.raises(Garbled):
                await exchange.data("GET", cloud.url, timeout_seconds=10)


@pytest.mark.parametrize("make_engine", [AioEngine, CompletionQueueEngine])
async def test_a_path_that_is_no_text_ends_no_server(make_engine: MakeEngine) -> None:
    """One call with a byte of no UTF-8 in its path ended grpc.aio's server for good; /livez said UP."""

    async def echo(request: bytes, _: object) -> Reply:
        return request, ()

    method = UnaryMethod(path="/a/b", begin=on_loop(echo))
    engine = make_engine(EngineSettings(methods=[method], options=(), max_concurrent_calls=10))
    port = engine.listen("127.0.0.1:0", None)
    await engine.start()
    try:
        for _ in range(3):
            await path_of_no_text(port, Random(1), 1)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                call: Any = channel.unary_unary("/a/b")
                assert b"x" == await call(b"x", timeout=10, wait_for_ready=True)
    finally:
        await engine.stop(grace_seconds=1)
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)
