"""Processes that say how they are in Redis, and people who read all of them."""

import time

import msgspec
import pytest

from entitlements.redis.connection import RedisConnection
from entitlements.redis.heartbeats import GONE_SECONDS, MAX_BEAT_BYTES, Condition, Heartbeats
from tests.redis.parts import KEYS, a_connection
from tests.redis_server import RedisServer

LEADS = Condition(version="1.0", role="leader", up_seconds=5.0, entries=3, problems=["feed"])
FOLLOWS = Condition(version="1.1", role="follower", up_seconds=0.5, entries=0, problems=[])
TOLD = msgspec.json.encode(LEADS)


def _of(connection: RedisConnection, process: str) -> Heartbeats:
    return Heartbeats(connection, name=KEYS.heartbeats, process=process)


async def _listed(heartbeats: Heartbeats) -> dict[str, Condition]:
    found = await heartbeats.read()
    assert found is not None
    return {each.process: each.condition for each in found}


async def test_each_is_listed_as_it_says_it_is_until_it_ends(connection: RedisConnection) -> None:
    one, other = _of(connection, "host-1/7"), _of(connection, "host-2/7")
    await one.beat(FOLLOWS)
    await other.beat(FOLLOWS)
    await one.beat(LEADS)

    listed = await _listed(other)
    await one.end()

    assert {"host-1/7": LEADS, "host-2/7": FOLLOWS} == listed
    assert {"host-2/7": FOLLOWS} == await _listed(other)


@pytest.mark.parametrize(("age_seconds", "is_listed"), [(GONE_SECONDS - 15, True), (GONE_SECONDS + 1, False)])
async def test_whoever_is_not_heard_of_any_more_is_gone(
    redis: RedisServer, connection: RedisConnection, age_seconds: float, is_listed: bool
) -> None:
    """It was killed, or its node: nobody took it off the list."""
    heartbeats = _of(connection, "host/1")
    redis.command(
        "HSET", KEYS.heartbeats, "killed/1", f"{(time.time() - age_seconds) * 1000:.0f} {TOLD.decode()}"
    )

    listed = await _listed(heartbeats)

    assert listed == ({"killed/1": LEADS} if is_listed else {})
    assert int(redis.command("HLEN", KEYS.heartbeats)) == is_listed


@pytest.mark.parametrize(
    "told",
    [
        "",
        "1",
        "no stamp",
        "NOW {}",
        "NOW [1]",
        "NOW \xff",
        'NOW {"version": 1, "role": "leader", "up_seconds": 1, "entries": 1, "problems": []}',
        "NOW " + " " * MAX_BEAT_BYTES + TOLD.decode(),
    ],
)
async def test_what_none_of_us_wrote_is_left_out(
    redis: RedisServer, connection: RedisConnection, told: str
) -> None:
    heartbeats = _of(connection, "host/1")
    await heartbeats.beat(LEADS)
    redis.command("HSET", KEYS.heartbeats, "junk", told.replace("NOW", f"{time.time() * 1000:.0f}"))

    assert {"host/1": LEADS} == await _listed(heartbeats)


async def test_the_list_goes_with_the_last_of_them(redis: RedisServer, connection: RedisConnection) -> None:
    await _of(connection, "host/1").beat(LEADS)

    assert 0 < int(redis.command("TTL", KEYS.heartbeats)) <= GONE_SECONDS


async def test_a_redis_that_is_away_lists_nobody(own_redis: RedisServer) -> None:
    connection = a_connection(own_redis.url)
    heartbeats = _of(connection, "host/1")
    own_redis.stop()
    await heartbeats.beat(LEADS)
    await heartbeats.end()

    assert await heartbeats.read() is None
    connection.stop()
