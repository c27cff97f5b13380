"""What Redis does in one step: whoever else writes, a value and its timestamp stay together."""

import contextlib
import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import pytest
import redis as redis_py

from entitlements.redis.clocks import redis_ms
from entitlements.redis.connection import Client
from entitlements.redis.lease_scripts import hold_lease, release_lease
from entitlements.redis.scripts import (
    Release,
    Settled,
    Write,
    replace_usage,
    write_newest,
)
from tests.redis_server import RedisServer


@pytest.fixture
def client(redis: RedisServer) -> Iterator[Client]:
    client = redis_py.Redis(port=redis.port)
    yield client
    client.close()


def write(key: str, stamp: int, value: str | None = None) -> Write:
    return Write(key=key, value=(value or f"v{stamp}").encode(), timestamp_ms=stamp)


def put(client: Client, writes: Sequence[Write]) -> int:
    return write_newest(client, writes, ttl_seconds=60, sent_at_redis_ms=redis_ms(client, "a")).writes


def held(client: Client, key: str) -> tuple[object, object]:
    return client.get(key), client.get(f"{key}#timestamp")


@pytest.mark.parametrize(
    ("before", "stamp", "is_written"),
    [
        ({}, 5, True),
        ({"a": "v", "a#timestamp": "5"}, 4, False),
        ({"a": "v", "a#timestamp": "5"}, 5, True),
        ({"a": "v", "a#timestamp": "5"}, 6, True),
        ({"a": "v", "a#timestamp": "9"}, 10, True),
        ({"a": "v", "a#timestamp": "5"}, 0, True),
        ({"a": "v", "a#timestamp": "0"}, 1, True),
        ({"a": "v"}, 1, True),
        ({"a#timestamp": "5"}, 4, True),
        ({"a": "v", "a#timestamp": "inf"}, 4, True),
        ({"a": "v", "a#timestamp": "nan"}, 4, True),
        ({"a": "v", "a#timestamp": "0x99"}, 4, True),
        ({"a": "v", "a#timestamp": "1234567890123456"}, 4, True),
        ({"a": "v", "a#timestamp": ""}, 4, True),
    ],
)
def test_the_newest_is_written(client: Client, before: dict[str, str], stamp: int, is_written: bool) -> None:
    for name, value in before.items():
        client.set(name, value)

    written = put(client, [write("a", stamp, "new")])

    assert int(is_written) == written
    if is_written:
        assert (b"new", str(stamp).encode()) == held(client, "a")
    else:
        assert (b"v", b"5") == held(client, "a")


@pytest.mark.parametrize(
    ("late_ms", "most_ms", "least_ms"),
    [(0, 60_000, 55_000), (20_000, 40_000, 35_000), (-5000, 60_000, 55_000), (90_000, 1, 0)],
)
def test_what_arrives_late_lives_the_shorter(
    client: Client, late_ms: int, most_ms: int, least_ms: int
) -> None:
    """It must not look as if the cloud had been asked when the write arrived."""
    sent_at = redis_ms(client, "a") - late_ms
    write_newest(client, [write("a", 1)], ttl_seconds=60, sent_at_redis_ms=sent_at)
    lives_ms = client.pttl("a"), client.pttl("a#timestamp")

    assert all(least_ms <= max(lives, 0) <= most_ms for lives in cast("tuple[int, int]", lives_ms)), lives_ms


def test_each_write_is_decided_for_itself(client: Client) -> None:
    put(client, [write("a", 5), write("b", 1)])

    written = put(client, [write("a", 3), write("b", 3)])

    assert written == 1
    assert (b"v5", b"5") == held(client, "a")
    assert (b"v3", b"3") == held(client, "b")


def test_a_script_that_redis_forgot_is_sent_again(client: Client) -> None:
    put(client, [write("a", 1)])
    client.script_flush()

    assert put(client, [write("a", 2)]) == 1


def test_concurrent_writers_leave_the_newest_and_never_a_mixture(redis: RedisServer) -> None:
    """Eight writers with connections of their own, two readers: each value with its own timestamp."""
    seen: list[tuple[bytes | None, bytes | None]] = []
    done = threading.Event()
    stamps = list(range(1, 801))
    random.Random(7).shuffle(stamps)

    def write_some(client: Client, number: int) -> None:
        for stamp in stamps[number::8]:
            put(client, [write("a", stamp), write("b", stamp)])

    def read(client: Client, _: int) -> None:
        while not done.is_set():
            value, stamp = client.mget("a", "a#timestamp")  # type: ignore[misc]
            seen.append((value, stamp))

    reader = started(redis, read, 1)
    for thread in started(redis, write_some, 8):
        thread.join()
    done.set()
    reader[0].join()

    present = [(value, int(stamp)) for value, stamp in seen if stamp is not None]
    assert [value for value, _ in present] == [f"v{stamp}".encode() for _, stamp in present]
    assert [stamp for _, stamp in present] == sorted(stamp for _, stamp in present)
    assert "v800" == redis.text("a")
    assert "800" == redis.text("a#timestamp")
    assert "v800" == redis.text("b")
    assert "800" == redis.text("b#timestamp")


def test_concurrent_usage_is_none_lost(redis: RedisServer) -> None:
    """Each writer adds one to what it read: were a write in between not noticed, a step would be missing."""
    redis.command("SET", "e", "{}")
    redis.command("SET", "u", "0")
    redis.command("SET", "u#timestamp", "0")

    def count_up(client: Client, _: int) -> None:
        for _ in range(50):
            is_written = False
            while not is_written:
                values = client.mget("u", "u#timestamp")
                following = int(values[0]) + 1  # type: ignore[index]
                one_more = write("u", following, str(following))
                is_written = replace_usage(
                    client,
                    entity_key="e",
                    held=values,  # type: ignore[arg-type]
                    write=one_more,
                    ttl_seconds=60,
                )

    for thread in started(redis, count_up, 4):
        thread.join()

    assert "200" == redis.text("u")
    assert "200" == redis.text("u#timestamp")


@pytest.mark.parametrize(
    ("held_values", "entity", "is_written"),
    [
        ((b"1", b"1"), "{}", True),
        ((b"2", b"1"), "{}", False),
        ((b"1", b"2"), "{}", False),
        ((None, None), "{}", False),
        ((b"1", b"1"), None, False),
    ],
)
def test_a_usage_is_replaced_only_where_nothing_changed(
    client: Client, held_values: tuple[bytes | None, ...], entity: str | None, is_written: bool
) -> None:
    client.set("u", "1")
    client.set("u#timestamp", "1")
    if entity is not None:
        client.set("e", entity)

    written = replace_usage(
        client, entity_key="e", held=held_values, write=write("u", 9, "9"), ttl_seconds=60
    )

    assert is_written == written
    assert ((b"9", b"9") if is_written else (b"1", b"1")) == held(client, "u")


def test_a_usage_that_is_not_there_is_written(client: Client) -> None:
    client.set("e", "{}")

    assert replace_usage(client, entity_key="e", held=(None, None), write=write("u", 9, "9"), ttl_seconds=60)
    assert (b"9", b"9") == held(client, "u")


@pytest.mark.parametrize(
    ("stamp", "expected", "metadata"),
    [
        (None, (None, b"0"), b'{"x":1}'),
        ("junk", (None, b"0"), b'{"x":1}'),
        ("999999999999999", (None, b"0"), b'{"x":1}'),  # after the year 9999
        ("5", (b"v", b"5"), b'{"customerTimestamp":5,"x":1}'),
        ("1760000000000", (b"v", b"1760000000000"), b'{"customerTimestamp":1760000000000,"x":1}'),
        ("0", (b"v", b"0"), b'{"x":1}'),
    ],
)
def test_a_resource_knows_its_customer_s_timestamp_and_one_without_is_stamped_unknown(
    client: Client, stamp: str | None, expected: tuple[bytes | None, bytes], metadata: bytes
) -> None:
    client.set("a", "v")
    if stamp is not None:
        client.set("a#timestamp", stamp)

    write_newest(
        client,
        [write("r:metadata", 3, '{"x":1}'), write("r", 3)],
        ttl_seconds=60,
        sent_at_redis_ms=redis_ms(client, "a"),
        known_at_ms=0,
        customer=Settled(key="a", ttl_seconds=60),
    )

    assert expected == held(client, "a")
    assert metadata == held(client, "r:metadata")[0]


LEASES = {
    "ours": (b'{"token":"ours","more":1}', True),
    "another's": (b'{"token":"theirs"}', False),
    "no token": (b"{}", False),
    "no object": (b"5", False),
    "no JSON": (b"ours", False),
}


@pytest.mark.parametrize(("value", "is_own"), LEASES.values(), ids=LEASES)
def test_a_lease_is_renewed_and_released_by_its_token(client: Client, value: bytes, is_own: bool) -> None:
    client.set("lease", value, px=1000)

    held = hold_lease(
        client, "lease", token="ours", head=b'{"token":"ours"}', kept_ms=5000, milliseconds=60_000
    )
    is_longer = client.pttl("lease") > 1000  # type: ignore[operator]
    released = release_lease(client, "lease", "ours")

    assert is_own == held.is_own
    assert is_own == is_longer
    assert is_own == released
    expected = f'{{"token":"ours","completeSince":{held.now_ms - 5000}}}'.encode() if is_own else value
    assert expected == held.value
    assert (not is_own) == bool(client.exists("lease"))


def test_a_lease_that_nobody_has_is_taken(client: Client) -> None:
    held = hold_lease(client, "lease", token="ours", head=b'{"token":"ours"}', kept_ms=None, milliseconds=500)

    assert held.is_own
    assert 500 == held.lives_ms
    assert b'{"token":"ours"}' == held.value


def test_a_key_of_another_kind_is_no_lease(client: Client) -> None:
    client.rpush("lease", "nonsense")

    held = hold_lease(client, "lease", token="ours", head=b"{}", kept_ms=None, milliseconds=500)

    assert not held.is_own
    assert b"" == held.value
    assert not release_lease(client, "lease", "ours")


@pytest.mark.parametrize(("value", "is_own"), [("token", True), ("other", False), (None, False)])
def test_a_lock_is_given_back_with_a_write_unless_another_has_it(
    client: Client, value: str | None, is_own: bool
) -> None:
    """Also where nothing goes in, as another wrote what is newer."""
    if value is not None:
        client.set("lock", value)
    client.mset({"a": "newer", "a#timestamp": "9"})
    with contextlib.closing(client.pubsub(ignore_subscribe_messages=True)) as pubsub:
        pubsub.subscribe("channel")
        pubsub.get_message(timeout=1)

        written = write_newest(
            client,
            [write("a", 5)],
            ttl_seconds=60,
            sent_at_redis_ms=redis_ms(client, "a"),
            release=Release(key="lock", token=b"token", channel="channel", message=b"{}"),
        )

        published = pubsub.get_message(timeout=1 if is_own else 0.05)
    assert 0 == written.writes
    assert (b"{}" if is_own else None) == (published and published["data"])
    assert (value is not None and not is_own) == bool(client.exists("lock"))


def test_values_are_plain_json(client: Client) -> None:
    put(client, [Write(key="a", value=json.dumps({"a": 0.1 + 0.2}).encode(), timestamp_ms=1)])

    assert client.get("a") == b'{"a": 0.30000000000000004}'


def started(redis: RedisServer, work: Callable[[Client, int], None], count: int) -> list[threading.Thread]:
    def with_client(number: int) -> None:
        with redis_py.Redis(port=redis.port) as client:
            work(client, number)

    threads = [threading.Thread(target=with_client, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads
