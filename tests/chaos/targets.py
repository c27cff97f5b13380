"""What eats other people's bytes: each takes any, and lets out no error that its caller does not expect."""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from google.protobuf.message import DecodeError

from entitlements.background import Background
from entitlements.cache.codec import (
    decode_entity,
    decode_metadata,
    decode_timestamp,
    decode_usage,
    encode_entity,
)
from entitlements.cache.memory import MemoryTier
from entitlements.cache.sizing import size_of
from entitlements.cache.snapshot import Snapshot
from entitlements.cache.snapshot_file import header
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.evaluation import evaluate_list
from entitlements.domain.usage import UsageEvent
from entitlements.json_fields import Malformed
from entitlements.outbox.codec import Unreadable, decode
from entitlements.upstream.feed_payloads import event_from_frame
from entitlements.upstream.feed_protocol import Delivered, FeedProtocol
from entitlements.upstream.offline_document import InvalidOfflineFile, read_offline_file
from entitlements.upstream.payloads import entity_from_state, state_in
from entitlements.upstream.report_payloads import event_input, report_input
from entitlements.upstream.state_documents import state_from_entity
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.translation import requests, responses
from tests.fakes import FakeClock

NOW_MS = 1_750_000_000_000
SUBSCRIPTIONS = {each: each for each in ("entitlementsUpdatedV2", "usageUpdatedV2", "packagePublished")}
_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))


def answer(data: bytes) -> None:
    """The `data` of an answer of the cloud."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    state = state_in(document) if isinstance(document, dict) else None
    if state is not None:
        _is_sound(entity_from_state(state, now_ms=NOW_MS))


def redis(data: bytes) -> None:
    """Each kind of value at our keys."""
    for read in (
        lambda: _is_sound(decode_entity(data)),
        lambda: decode_metadata(data),
        lambda: decode_usage(data, updated_at_ms=1),
        lambda: decode_timestamp(data),
    ):
        try:
            read()
        except Malformed:
            continue


def feed(data: bytes) -> None:
    """One frame after the acknowledgement, and what it says."""
    frame = data.decode("utf-8", "surrogateescape")
    protocol = FeedProtocol(headers={}, subscriptions=SUBSCRIPTIONS)
    protocol.receive('{"type":"connection_ack"}')
    for each in (frame, data):
        for event in protocol.receive(each):
            if isinstance(event, Delivered):
                event_from_frame(event.subscription, event.frame, now_ms=NOW_MS)
    protocol.frames_to_send()
    for subscription in SUBSCRIPTIONS:
        output = event_from_frame(subscription, frame, now_ms=NOW_MS)
        entity = getattr(output, "entity", None)
        if entity is not None:
            _is_sound(entity)


def outbox(data: bytes) -> None:
    """An entry of the outbox, and what the cloud would be sent of it."""
    try:
        write = decode(data)
    except Unreadable:
        return
    sent = event_input(write) if isinstance(write, UsageEvent) else report_input(write)
    json.dumps(sent, allow_nan=False, ensure_ascii=False).encode("utf-8", "surrogatepass")


def snapshot(data: bytes) -> None:
    """A snapshot with a good first line."""
    path = _FOLDER / "snapshot"
    path.write_bytes(header(now_ms=NOW_MS) + data)
    snapshot_ = Snapshot(
        path,
        memory=MemoryTier(max_size_bytes=100_000),
        clock=FakeClock(),
        max_size_bytes=100_000,
        background=Background(FakeClock().monotonic),
    )
    try:
        for key in list(snapshot_._places):
            snapshot_.get(key)
    finally:
        snapshot_.close()


def offline(data: bytes) -> None:
    """An offline file in either form."""
    for suffix in (".json", ".yaml"):
        path = _FOLDER / f"offline{suffix}"
        path.write_bytes(data)
        try:
            states = read_offline_file(path, now_ms=NOW_MS)
        except InvalidOfflineFile as error:
            str(error)
            continue
        for entity in states.values():
            _is_sound(entity)


def request(data: bytes) -> None:
    """The message of each method."""
    random = Random(len(data))
    kind, translate = random.choice(list(_REQUESTS.items()))
    try:
        message = kind.FromString(data)  # type: ignore[attr-defined]
    except DecodeError:
        return
    translate(message)


def _is_sound(entity: Entity) -> None:
    """What was understood can be answered, kept in Redis, exported and sized."""
    listed = evaluate_list(entity, now_ms=NOW_MS)
    for message in (responses.state_response(listed), responses.list_response(listed)):
        type(message).FromString(message.SerializeToString())
    key = EntityKey("customer")
    try:
        again = decode_entity(encode_entity(key, entity))
    except Malformed:
        return
    assert set(again.features) == set(entity.features)
    assert set(again.credits) == set(entity.credits)
    json.dumps(state_from_entity(entity)).encode()
    assert size_of(entity) > 0


_REQUESTS: Mapping[type, Callable[..., object]] = {
    pb.GetBooleanEntitlementRequest: requests.boolean_query,
    pb.GetNumericEntitlementRequest: requests.numeric_query,
    pb.GetMeteredEntitlementRequest: requests.metered_query,
    pb.GetEnumEntitlementRequest: requests.enum_query,
    pb.GetEntitlementRequest: requests.generic_query,
    pb.GetEntitlementV2Request: requests.v2_query,
    pb.GetEntitlementsStateV2Request: requests.entity_key,
    pb.ReportUsageRequest: lambda message: requests.usage_report(message, idempotency_key="key"),
    pb.Event: requests.usage_event,
}

TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (answer, redis, feed, outbox, snapshot, offline, request)
}
