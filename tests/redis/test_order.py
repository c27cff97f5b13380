"""Which of two sets is the newer one, where memory holds one and Redis the other."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from entitlements.cache.codec import encode_entity
from entitlements.cache.memory import MemoryTier
from entitlements.cache.redis import RedisTier
from entitlements.cache.tiers import Tiers
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity
from entitlements.redis.keys import timestamp_of
from tests.builders import a_boolean_feature
from tests.cache.samples import CUSTOMER, NOW_MS, entity
from tests.chaos.proxy import TcpProxy
from tests.redis.parts import KEYS, TTL_SECONDS, ShiftedClock, a_connection, a_tier
from tests.redis_server import RedisServer

OLD, NEW, LATEST = (entity(a_boolean_feature(name)) for name in ("old", "new", "latest"))
SLOW_SECONDS = 0.3


@asynccontextmanager
async def _process(redis: RedisServer, *, holds: CachedEntity) -> AsyncIterator[tuple[Tiers, TcpProxy]]:
    """One that has dialled, and has measured Redis' clock by a quick answer."""
    clock = ShiftedClock()
    async with TcpProxy(redis.port) as line:
        connection = a_connection(f"redis://127.0.0.1:{line.port}/0", clock=clock)
        memory, shared = MemoryTier(max_size_bytes=10**6), a_tier(connection, clock=clock)
        await shared.get(CUSTOMER)
        memory.update(CUSTOMER, lambda _: holds)
        yield Tiers(memory, shared), line
        connection.stop()


async def _found(tiers: Tiers) -> Entity:
    found = await tiers.find_shared(CUSTOMER)
    assert found is not None
    return found.entity


async def test_a_set_that_was_confirmed_again_is_no_newer_for_it(redis: RedisServer, tier: RedisTier) -> None:
    """Another process confirmed what it held while the leader had just been sent a newer set."""
    now = time.monotonic()
    await tier.store(CUSTOMER, CachedEntity(entity=OLD, confirmed_at=now, known_at=now - 10))

    async with _process(redis, holds=CachedEntity(entity=NEW, confirmed_at=now - 5)) as (tiers, _):
        assert NEW == await _found(tiers)


@pytest.mark.parametrize("is_said", [True, False])
async def test_an_answer_that_was_long_on_its_way_is_no_newer_for_it(
    redis: RedisServer, tier: RedisTier, is_said: bool
) -> None:
    """How long its key still lived was true when Redis said so; also where nobody says when it was known."""
    now = time.monotonic()
    await tier.store(CUSTOMER, CachedEntity(entity=OLD, confirmed_at=now))
    if not is_said:
        redis.command("DEL", KEYS.metadata(CUSTOMER))

    holds = CachedEntity(entity=NEW, confirmed_at=now + SLOW_SECONDS / 2)
    async with _process(redis, holds=holds) as (tiers, line):
        line.slow(SLOW_SECONDS)
        assert NEW == await _found(tiers)


async def test_a_set_that_was_known_later_is_newer(redis: RedisServer, tier: RedisTier) -> None:
    now = time.monotonic()
    await tier.store(CUSTOMER, CachedEntity(entity=NEW, confirmed_at=now, known_at=now - 1))

    async with _process(redis, holds=CachedEntity(entity=OLD, confirmed_at=now - 5)) as (tiers, _):
        assert NEW == await _found(tiers)


async def test_what_an_official_service_wrote_is_not_dated_by_what_we_said_beside_it(
    redis: RedisServer, tier: RedisTier
) -> None:
    """It writes the set and its timestamp; our metadata of before stay."""
    now, key = time.monotonic(), KEYS.entity(CUSTOMER)
    await tier.store(CUSTOMER, CachedEntity(entity=OLD, confirmed_at=now - 10))
    redis.command("SET", key, encode_entity(CUSTOMER, LATEST).decode(), "EX", str(TTL_SECONDS))
    redis.command("SET", timestamp_of(key), str(NOW_MS), "EX", str(TTL_SECONDS))

    async with _process(redis, holds=CachedEntity(entity=NEW, confirmed_at=now - 5)) as (tiers, _):
        assert LATEST == await _found(tiers)
