"""The parts that share what is known with other processes, by one Redis."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from django.core.cache import caches

from entitlements.cache.redis import RedisTier
from entitlements.config import SidecarConfig
from entitlements.domain.ports import Clock
from entitlements.redis.connection import RedisConnection
from entitlements.redis.fetch_lock import FetchLock
from entitlements.redis.keys import KeySpace
from entitlements.redis.lease import Lease, LeaseState
from entitlements.redis.notifications import Notifications

if TYPE_CHECKING:
    from django_redis.cache import RedisCache

REDIS_CACHE = "redis"
"""The shared Redis among Django's CACHES, where REDIS_ENVIRONMENT_PREFIX is set."""
LOCK_MARGIN_SECONDS = 1.0
"""A fetch lock outlives the longest fetch by this."""


@dataclass(kw_only=True)
class SharedRedis:
    """The parts that share what is known with other processes."""

    keys: KeySpace
    connection: RedisConnection
    tier: RedisTier
    notifications: Notifications
    fetch_lock: FetchLock
    lease: Lease
    lease_state: LeaseState | None = None
    """As it was seen last, for people."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While entered, what others tell is heard; leaving ends all threads."""
        self.notifications.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self.notifications.stop)
            await asyncio.to_thread(self.connection.stop)


def lease_holder() -> str:
    """This process, for people who look at a lease."""
    return f"{socket.gethostname()}/{os.getpid()}"


def shared_redis(config: SidecarConfig, clock: Clock) -> SharedRedis | None:
    """What shares with others; None where no Redis is configured, or offline."""
    if config.redis_environment_prefix is None or config.offline:
        return None
    keys = KeySpace(prefix=config.redis_environment_prefix)
    connection = RedisConnection(cast("RedisCache", caches[REDIS_CACHE]), clock=clock)
    notifications = Notifications(connection.client, pattern=keys.fetch_channels)
    return SharedRedis(
        keys=keys,
        connection=connection,
        tier=RedisTier(connection, keys=keys, clock=clock, ttl_seconds=config.redis_keys_ttl_in_secs),
        notifications=notifications,
        fetch_lock=FetchLock(
            connection,
            notifications=notifications,
            keys=keys,
            clock=clock,
            hold_seconds=config.sidecar_fetch_budget_seconds + LOCK_MARGIN_SECONDS,
        ),
        lease=Lease(connection, name=keys.feed_lease, holder=lease_holder(), clock=clock),
    )
