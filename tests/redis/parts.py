"""Builders of the parts that speak to Redis."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from django_redis.cache import RedisCache
from django_redis.pool import ConnectionFactory

from entitlements.cache.redis import RedisTier
from entitlements.cache.tiers import Miss
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity, EntityKey
from entitlements.redis import patience
from entitlements.redis.address import RedisAddress, cache_settings
from entitlements.redis.connection import RedisConnection
from entitlements.redis.credentials import Credentials
from entitlements.redis.keys import KeySpace
from entitlements.redis.patience import LEAST_SECONDS, MOST_SECONDS
from tests.cache.samples import NOW_MS
from tests.redis_fleet import ClusterFleet

KEYS = KeySpace(prefix="production")
CLUSTER_KEYS = KeySpace(prefix="production", is_cluster=True)
TTL_SECONDS = 604800


class ShiftedClock:
    """The real durations, plus what a test adds; the wall clock stands still."""

    def __init__(self) -> None:
        self.shift_seconds = 0.0

    def now_ms(self) -> int:
        return NOW_MS

    def monotonic(self) -> float:
        return time.monotonic() + self.shift_seconds

    def both(self) -> tuple[float, int]:
        return self.monotonic(), self.now_ms()


def a_connection(
    url: str,
    *,
    clock: ShiftedClock | None = None,
    username: str | None = None,
    password: str | None = None,
) -> RedisConnection:
    """A connection to that Redis, by way of django-redis."""
    parts = urlsplit(url)
    address = RedisAddress(
        host=parts.hostname or "", port=parts.port or 0, credentials=Credentials(username, password)
    )
    return connection_to(address, clock=clock)


def connection_to(address: RedisAddress, *, clock: ShiftedClock | None = None) -> RedisConnection:
    """A connection to that address."""
    settings = cache_settings(address)
    ConnectionFactory._pools.clear()  # type: ignore[misc]  # it shares them by URL, whatever the options are
    return RedisConnection(RedisCache(settings.pop("LOCATION"), settings), clock=clock or ShiftedClock())


@contextmanager
def hurried() -> Iterator[None]:
    """Calls are waited for as long as they are in service, where tests wait longer (`unhurried`)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "LEAST_SECONDS", LEAST_SECONDS)
        patch.setattr(patience, "MOST_SECONDS", MOST_SECONDS)
        yield


@contextmanager
def stopping(connection: RedisConnection) -> Iterator[RedisConnection]:
    """The connection, which is stopped in the end."""
    try:
        yield connection
    finally:
        connection.stop()


def a_tier(
    connection: RedisConnection,
    *,
    clock: ShiftedClock | None = None,
    ttl_seconds: int = TTL_SECONDS,
    keys: KeySpace = KEYS,
) -> RedisTier:
    """The tier of the environment "production"."""
    return RedisTier(connection, keys=keys, clock=clock or ShiftedClock(), ttl_seconds=ttl_seconds)


def cluster_address(fleet: ClusterFleet) -> RedisAddress:
    """Of a Cluster, by its first node that lives."""
    first = next(each for each in fleet.servers if each.is_running)
    return RedisAddress(host="nobody.example", nodes=(("127.0.0.1", first.port),))


async def put(tier: RedisTier, key: EntityKey, entity: Entity) -> None:
    """Stores what was confirmed just now."""
    await tier.store(key, CachedEntity(entity=entity, confirmed_at=time.monotonic()))


async def taken(tier: RedisTier, key: EntityKey) -> Entity | Miss:
    """What the tier answers, whenever it was confirmed."""
    found = await tier.get(key)
    return found.entity if isinstance(found, CachedEntity) else found
