"""The outbox in a real Redis."""

from collections.abc import AsyncIterator, Iterator

import pytest

from entitlements.domain.errors import OutboxUnavailable
from entitlements.outbox.redis_stream import RedisStreamOutbox
from entitlements.redis.connection import UNAVAILABLE, RedisConnection
from tests.fakes import FakeClock
from tests.outbox.outbox_contract import EVENT, LIMITS, OutboxContract, events, keys_of
from tests.redis.parts import KEYS, a_connection
from tests.redis_server import RedisServer


@pytest.fixture(scope="module")
def redis_process() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(redis_process: RedisServer) -> RedisServer:
    redis_process.command("FLUSHALL")
    redis_process.command("CONFIG", "SET", "maxmemory", 0)
    return redis_process


@pytest.fixture
async def connection(redis: RedisServer) -> AsyncIterator[RedisConnection]:
    """Connected already: on a busy machine that may take longer than a call."""
    connection = a_connection(redis.url)
    while await connection.run(lambda client: client.ping()) is UNAVAILABLE:
        pass
    yield connection
    connection.stop()


@pytest.fixture
def outbox(connection: RedisConnection) -> RedisStreamOutbox:
    return RedisStreamOutbox(connection, name=KEYS.outbox, limits=LIMITS, clock=FakeClock())


class TestRedisStreamOutbox(OutboxContract):
    """The contract."""


async def test_another_process_takes_over(outbox: RedisStreamOutbox, connection: RedisConnection) -> None:
    """What the first took and left, in the same order."""
    await outbox.accept(events("a", "b"))
    await outbox.oldest(10)

    second = RedisStreamOutbox(connection, name=KEYS.outbox, limits=LIMITS, clock=FakeClock())

    assert ["a", "b"] == keys_of(await second.oldest(10))
    await second.stop()


async def test_full_redis_is_told_and_drains(outbox: RedisStreamOutbox, redis: RedisServer) -> None:
    """Nothing more is accepted; what is held can be delivered and refused all the same."""
    await outbox.accept(events("a", "b"))
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.command("CONFIG", "SET", "maxmemory", 1)

    with pytest.raises(OutboxUnavailable):
        await outbox.accept(events("c"))

    taken = await outbox.oldest(10)
    await outbox.bury(taken[0], reason="no")
    await outbox.settle(taken[1:])
    state = await outbox.state()
    assert (0, 1) == (state.waiting, state.dead)


async def test_dead_redis_is_told(outbox: RedisStreamOutbox, redis: RedisServer) -> None:
    """Nothing is promised while it does not answer."""
    redis.pause()
    try:
        with pytest.raises(OutboxUnavailable):
            await outbox.accept(events("a"))
    finally:
        redis.resume()


async def test_foreign_entry_becomes_a_dead_letter(outbox: RedisStreamOutbox, redis: RedisServer) -> None:
    """Anybody can write to Redis; it does not stop the others, and is not shown as what it is not."""
    redis.command("XADD", KEYS.outbox, "*", "what", "junk")
    await outbox.accept([EVENT])

    assert [] == keys_of(await outbox.waiting(1))
    assert ["k"] == keys_of(await outbox.oldest(10))
    assert 1 == (await outbox.state()).dead
    assert [] == list(await outbox.dead_letters(10))
