"""graphql-transport-ws frame by frame: no socket, no clock."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.upstream import feed_protocol
from entitlements.upstream.feed_protocol import (
    MAX_GARBAGE_FRAMES,
    Delivered,
    Event,
    Failed,
    FeedProtocol,
    Followed,
    Problem,
    Skipped,
    SubscriptionEnded,
    classify_close,
    classify_status,
)

HEADERS = {"X-API-KEY": "made-up"}
DOCUMENTS = {
    "usageUpdatedV2": "subscription UsageUpdatedV2 { a }",
    "packagePublished": "subscription P { b }",
}


def a_protocol() -> FeedProtocol:
    return FeedProtocol(headers=HEADERS, subscriptions=DOCUMENTS)


def sent(protocol: FeedProtocol) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in protocol.frames_to_send()]


def received(protocol: FeedProtocol, **message: Any) -> list[Event]:
    return protocol.receive(json.dumps(message))


def a_followed_protocol() -> FeedProtocol:
    protocol = a_protocol()
    received(protocol, type="connection_ack")
    received(protocol, type="pong")
    protocol.frames_to_send()
    return protocol


def test_first_it_introduces_itself_with_the_key() -> None:
    protocol = a_protocol()

    frames = sent(protocol)

    assert [{"type": "connection_init", "payload": {"headers": HEADERS}}] == frames
    assert [] == sent(protocol)


def test_nothing_is_subscribed_before_the_acknowledgement() -> None:
    protocol = a_protocol()
    protocol.frames_to_send()

    assert not received(protocol, type="ping")
    assert [{"type": "pong"}] == sent(protocol)


def test_the_acknowledgement_lets_it_subscribe_and_ask_for_a_sign_behind_that() -> None:
    protocol = a_protocol()
    protocol.frames_to_send()

    events = received(protocol, type="connection_ack", payload={"anything": 1})

    assert [] == events
    assert [
        {
            "type": "subscribe",
            "id": "1",
            "payload": {"query": DOCUMENTS["usageUpdatedV2"], "operationName": "UsageUpdatedV2"},
        },
        {
            "type": "subscribe",
            "id": "2",
            "payload": {"query": DOCUMENTS["packagePublished"], "operationName": "PackagePublished"},
        },
        {"type": "ping"},
    ] == sent(protocol)
    assert not protocol.is_followed


def test_the_pong_behind_the_subscriptions_means_that_they_are_in_force() -> None:
    protocol = a_protocol()
    received(protocol, type="connection_ack")

    assert [Followed()] == received(protocol, type="pong")
    assert protocol.is_followed


def test_a_pong_to_an_earlier_ping_says_nothing_of_the_subscriptions() -> None:
    protocol = a_protocol()
    protocol.ping()
    received(protocol, type="connection_ack")

    first, second = received(protocol, type="pong"), received(protocol, type="pong")

    assert [] == first
    assert [Followed()] == second


def test_later_pongs_say_nothing_new() -> None:
    protocol = a_followed_protocol()
    protocol.ping()

    assert [] == received(protocol, type="pong")


def test_a_second_acknowledgement_is_not_understood() -> None:
    protocol = a_followed_protocol()

    assert [Skipped()] == received(protocol, type="connection_ack")
    assert [] == sent(protocol)


def test_a_next_frame_is_delivered_as_it_came() -> None:
    protocol = a_followed_protocol()
    frame = '{"type": "next",  "id": "2", "payload": {"data": {}}, "unknown": true}'

    assert [Delivered(subscription="packagePublished", frame=frame)] == protocol.receive(frame)


@pytest.mark.parametrize(
    "frame",
    [
        '{"type": "next", "id": "2", "payload": {"data": NaN}}',
        '{"type": "next", "id": "2", "payload": {"data": "\\ud800"}}',
        '{"type": "complete", "id": "1", "type": "next", "id": "2"}',
        '{"id": "2", "payload": {"type": "ping", "id": "1"}, "type": "next"}',
    ],
)
def test_a_next_frame_is_known_by_its_envelope_alone(frame: str) -> None:
    """Also where its payload is no strict JSON, or looks like an envelope itself."""
    assert [Delivered(subscription="packagePublished", frame=frame)] == a_followed_protocol().receive(frame)


def test_the_payload_of_a_next_frame_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read once, where it is applied."""
    protocol = a_followed_protocol()
    monkeypatch.setattr(feed_protocol, "json", None)
    frame = '{"type": "next", "id": "2", "payload": {"data": {}}}'

    assert [Delivered(subscription="packagePublished", frame=frame)] == protocol.receive(frame)


@pytest.mark.parametrize("id_", ["3", 2, None, ["2"]])
def test_a_next_frame_of_no_subscription_is_skipped(id_: object) -> None:
    assert [Skipped()] == received(a_followed_protocol(), type="next", id=id_)


@pytest.mark.parametrize("type_", ["error", "complete"])
def test_one_subscription_that_ends_leaves_the_others(type_: str) -> None:
    """contract/better.md: a GraphQL `error` for one subscription must not drop the socket."""
    protocol = a_followed_protocol()

    events = received(protocol, type=type_, id="1", payload=[{"message": "boom"}])

    assert [SubscriptionEnded(subscription="usageUpdatedV2")] == events
    assert not protocol.is_followed
    assert [Skipped()] == received(protocol, type="next", id="1")
    assert [Delivered(subscription="packagePublished", frame='{"type": "next", "id": "2"}')] == received(
        protocol, type="next", id="2"
    )


def test_a_subscription_that_ended_is_asked_for_again_under_a_new_id() -> None:
    protocol = a_followed_protocol()
    received(protocol, type="complete", id="1")

    protocol.resubscribe("usageUpdatedV2")

    assert [("subscribe", "3"), ("ping", None)] == [
        (frame["type"], frame.get("id")) for frame in sent(protocol)
    ]
    assert [Followed()] == received(protocol, type="pong")


def test_while_another_subscription_is_missing_it_is_not_followed() -> None:
    protocol = a_followed_protocol()
    received(protocol, type="complete", id="1")
    received(protocol, type="complete", id="2")
    protocol.resubscribe("usageUpdatedV2")

    assert [] == received(protocol, type="pong")
    assert not protocol.is_followed


def test_the_end_of_no_subscription_is_skipped() -> None:
    assert [Skipped()] == received(a_followed_protocol(), type="complete", id="9")


def test_a_refused_key_ends_the_connection() -> None:
    events = received(a_followed_protocol(), type="error", id="1", payload=[{"message": "invalid api KEY"}])

    assert [Failed(problem=Problem.KEY_REFUSED)] == events


@pytest.mark.parametrize(("ping", "pong"), [({}, {}), ({"payload": {"a": 1}}, {"payload": {"a": 1}})])
def test_a_ping_is_answered_with_its_payload(ping: dict[str, Any], pong: dict[str, Any]) -> None:
    protocol = a_followed_protocol()

    assert [] == received(protocol, type="ping", **ping)
    assert [{"type": "pong", **pong}] == sent(protocol)


@pytest.mark.parametrize(
    "frame", ["", "x", "[]", "5", "null", '{"type": 5}', '{"type": "unknown"}', b"\x00\xff", "[" * 100_000]
)
def test_garbage_is_skipped(frame: str | bytes) -> None:
    assert [Skipped()] == a_followed_protocol().receive(frame)


def test_a_server_that_only_sends_garbage_is_cut() -> None:
    protocol = a_followed_protocol()
    for _ in range(MAX_GARBAGE_FRAMES):
        assert [Skipped()] == protocol.receive("x")

    assert [Skipped(), Failed(problem=Problem.LOST)] == protocol.receive("x")


@pytest.mark.parametrize(
    ("reason", "problem"),
    [
        ("Invalid API key", Problem.KEY_REFUSED),
        ("Forbidden: invalid api key, again", Problem.KEY_REFUSED),
        ("ThrottlerException: Too Many Requests", Problem.THROTTLED),
        ("", Problem.LOST),
        ("Forbidden", Problem.LOST),
    ],
)
def test_close_with_the_bad_key_reason_is_permanent_whatever_its_code(reason: str, problem: Problem) -> None:
    """contract/better.md: close code 4403 with the bad-key reason must not reconnect at full speed."""
    assert problem is classify_close(reason)


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (401, Problem.KEY_REFUSED),
        (403, Problem.KEY_REFUSED),
        (429, Problem.THROTTLED),
        (404, Problem.LOST),
        (503, Problem.LOST),
    ],
)
def test_a_refused_upgrade_has_a_meaning(status: int, problem: Problem) -> None:
    assert problem is classify_status(status)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(["connection_ack", "next", "error", "complete", "ping", "pong", "x"]) | JSON
MESSAGES = st.fixed_dictionaries(
    {"type": TYPES}, optional={"id": st.sampled_from(["1", "2"]) | JSON, "payload": JSON}
)


@given(st.lists(MESSAGES.map(json.dumps) | st.text(max_size=20) | st.binary(max_size=20), max_size=30))
def test_nothing_that_a_server_sends_raises(frames: list[str | bytes]) -> None:
    """And all that is to be sent is JSON, with only our own subscriptions in it."""
    protocol = a_protocol()

    for frame in frames:
        for event in protocol.receive(frame):
            assert not isinstance(event, Delivered | SubscriptionEnded) or event.subscription in DOCUMENTS

    assert all(isinstance(message, dict) for message in sent(protocol))


def test_a_pong_that_no_ping_asked_for_says_nothing() -> None:
    """A server may send pongs as its heartbeat.

    They were counted: after one of them the feed counted as followed before its subscriptions were in force,
    and a change in that moment was missed without a gap.
    """
    protocol = a_followed_protocol()
    received(protocol, type="pong")
    received(protocol, type="complete", id="1")
    protocol.ping()
    protocol.resubscribe("usageUpdatedV2")

    first, second = received(protocol, type="pong"), received(protocol, type="pong")

    assert [] == first
    assert [Followed()] == second


def test_a_pong_before_the_acknowledgement_does_not_stand_for_a_later_one() -> None:
    """The same at the start of a connection."""
    protocol = a_protocol()
    received(protocol, type="pong")
    protocol.ping()
    received(protocol, type="connection_ack")

    assert [] == received(protocol, type="pong")
    assert not protocol.is_followed


def test_two_ended_subscriptions_are_both_waited_for() -> None:
    """The first one's pong comes while the other is still missing."""
    protocol = a_followed_protocol()
    received(protocol, type="complete", id="1")
    received(protocol, type="error", id="2")
    protocol.resubscribe("usageUpdatedV2")

    assert [] == received(protocol, type="pong")
    protocol.resubscribe("packagePublished")
    assert [Followed()] == received(protocol, type="pong")


@pytest.mark.parametrize("type_", ["ping", "error"])
def test_a_payload_at_the_limit_of_depth_does_not_raise(type_: str) -> None:
    """Writing a value down takes more stack than reading it took.

    A ping with a payload nested almost as deep as can be read raised RecursionError, and ended the feed.
    """
    for depth in range(300, 1000):
        frame = f'{{"type": "{type_}", "id": "9", "payload": {"[" * depth}{"]" * depth}}}'
        events = a_followed_protocol().receive(frame)
        assert events in ([], [Skipped()])


def test_what_is_doubted_is_followed_again_when_the_last_ping_is_answered() -> None:
    """What the server sent before that pong is still to come."""
    protocol = a_followed_protocol()
    for _ in range(2):
        protocol.ping()
    protocol.doubt()
    doubted = (protocol.is_followed, protocol.pings_under_way)

    first, second = received(protocol, type="pong"), received(protocol, type="pong")

    assert (False, 2) == doubted
    assert [] == first
    assert [Followed()] == second
    assert protocol.is_followed
    assert 0 == protocol.pings_under_way
