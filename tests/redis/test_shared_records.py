"""Records that processes share through one hash of Redis."""

from entitlements.redis.connection import RedisConnection
from entitlements.redis.shared_records import MAX_RECORD_BYTES, SharedRecords
from tests.redis.parts import KEYS, a_connection
from tests.redis_server import RedisServer


async def test_what_one_writes_others_read(redis: RedisServer, connection: RedisConnection) -> None:
    records = SharedRecords(connection, name=KEYS.overrides, ttl_seconds=60)
    await records.write({"a": b"1", "b": b"2"})
    await records.write({"a": b"3"}, removed=["b", "c"])
    await records.write({})

    assert {"a": b"3"} == await records.read()
    assert 0 < int(redis.command("TTL", KEYS.overrides)) <= 60


async def test_what_is_too_large_is_none_of_ours(connection: RedisConnection) -> None:
    records = SharedRecords(connection, name=KEYS.overrides, ttl_seconds=60)
    await records.write({"a": b"1", "large": b"x" * (MAX_RECORD_BYTES + 1)})

    assert {"a": b"1"} == await records.read()


async def test_a_redis_that_is_away_is_reported_by_none(own_redis: RedisServer) -> None:
    connection = a_connection(own_redis.url)
    records = SharedRecords(connection, name=KEYS.overrides, ttl_seconds=60)
    own_redis.stop()
    await records.write({"a": b"1"})

    assert await records.read() is None
    connection.stop()


async def test_what_stands_is_read_once_and_what_anybody_changed_is_read_again(
    redis: RedisServer, connection: RedisConnection
) -> None:
    """Also where Redis was emptied and filled with something else, or one wrote who knows no version."""
    one, other = (SharedRecords(connection, name=KEYS.overrides, ttl_seconds=60) for _ in range(2))
    await other.write({"a": b"1"})
    first, again = await one.read(), await one.read()
    redis.command("FLUSHALL")
    emptied = await one.read()
    await other.write({"b": b"2"})
    filled = await one.read()
    redis.command("DEL", KEYS.overrides)
    redis.command("HSET", KEYS.overrides, "c", "3")
    foreign = await one.read()
    redis.command("HSET", KEYS.overrides, "c", "4")

    assert {"a": b"1"} == first
    assert {} == emptied
    assert {"b": b"2"} == filled
    assert {"c": b"3"} == foreign
    assert first is again
    assert {"c": b"4"} == await one.read()
