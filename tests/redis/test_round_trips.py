"""How often Redis is asked, one question after the other, counted on the way there.

Each costs what the way costs: a Redis in another zone is 1 ms away, one that is busy 100.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from entitlements.cache.redis import RedisTier
from entitlements.cache.tiers import Miss
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.ports import FetchClaim, FetchLockOutcome
from entitlements.redis.connection import RedisConnection
from entitlements.redis.fetch_lock import FetchLock
from entitlements.redis.notifications import Notifications
from tests.cache.samples import CUSTOMER, RESOURCE, credit, entity, metered
from tests.chaos.proxy import TcpProxy
from tests.redis.parts import KEYS, ShiftedClock, a_connection, a_tier
from tests.redis_server import RedisServer

OTHER = EntityKey("customer-2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What one process has of Redis."""

    connection: RedisConnection
    tier: RedisTier
    lock: FetchLock
    line: TcpProxy

    async def missed(self, key: EntityKey, fetched: Entity) -> Miss | CachedEntity:
        """All that a miss does with Redis."""
        found: Miss | CachedEntity = Miss.UNAVAILABLE

        async def look(claim: FetchClaim) -> None:
            nonlocal found
            found = await self.tier.get(key, claim=claim)

        claim = await self.lock.claim(key, wait_seconds=1, look=look)
        assert FetchLockOutcome.ACQUIRED is claim.turn
        await self.tier.store(key, CachedEntity(entity=fetched, confirmed_at=time.monotonic()), claim=claim)
        await self.lock.done(claim)
        return found


@asynccontextmanager
async def process_behind(redis: RedisServer) -> AsyncIterator[Process]:
    """One that has dialled, and whose scripts Redis knows."""
    clock = ShiftedClock()
    async with TcpProxy(redis.port) as line:
        connection = a_connection(f"redis://127.0.0.1:{line.port}/0", clock=clock)
        lock = FetchLock(
            connection,
            notifications=Notifications(connection, pattern=KEYS.fetch_channels),
            keys=KEYS,
            clock=clock,
            hold_seconds=5,
        )
        process = Process(connection=connection, tier=a_tier(connection, clock=clock), lock=lock, line=line)
        await connection.run(lambda client: client.ping())
        await process.missed(OTHER, entity())
        line.round_trips = 0
        yield process
        connection.stop()


@pytest.mark.parametrize("key", [CUSTOMER, RESOURCE])
async def test_a_miss_asks_twice(redis: RedisServer, key: EntityKey) -> None:
    """To read, which takes the lock, and to write, which gives it back."""
    async with process_behind(redis) as process:
        assert Miss.ABSENT is await process.missed(key, entity(metered(), credit()))

        assert 2 == process.line.round_trips
        assert redis.text(KEYS.fetch_lock(key)) is None


async def test_a_hit_asks_once_where_its_meters_are_those_of_the_one_before(redis: RedisServer) -> None:
    async with process_behind(redis) as process:
        await process.missed(CUSTOMER, entity(metered(current=1), credit()))
        await process.missed(OTHER, entity(metered(current=2), credit()))
        process.line.round_trips = 0

        first = await process.tier.get(CUSTOMER)
        asked_first = process.line.round_trips
        second = await process.tier.get(OTHER)

    assert isinstance(first, CachedEntity)
    assert entity(metered(current=1), credit()) == first.entity
    assert isinstance(second, CachedEntity)
    assert entity(metered(current=2), credit()) == second.entity
    assert 2 == asked_first
    assert 3 == process.line.round_trips


async def test_meters_of_ever_new_plans_are_all_found(redis: RedisServer) -> None:
    """More of them than are read along."""
    async with process_behind(redis) as process:
        for number in range(3):
            key = EntityKey(f"plan-{number}")
            stored = entity(*(metered(f"meter-{number}-{each}") for each in range(20)))
            await process.missed(key, stored)

            found = await process.tier.get(key)

            assert isinstance(found, CachedEntity)
            assert stored == found.entity


@pytest.mark.parametrize("away_seconds", [0.1, 0.2])
async def test_a_redis_that_has_become_slow_is_waited_for(redis: RedisServer, away_seconds: float) -> None:
    """It is 200 or 400 ms away from now on: the first calls may be lost, then all goes on."""
    async with process_behind(redis) as process:
        for _ in range(20):
            await process.tier.get(CUSTOMER)
        process.line.slow(away_seconds)
        while await process.tier.get(CUSTOMER) is Miss.UNAVAILABLE:
            assert process.connection.is_answering

        missed = await process.missed(CUSTOMER, entity(metered()))
        found = await process.tier.get(CUSTOMER)

    assert Miss.ABSENT is missed
    assert isinstance(found, CachedEntity)
    assert entity(metered()) == found.entity
