"""The parts that share what is known with other processes, by one Redis."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from django.conf import settings
from django.core.cache import caches

from entitlements.background import Background
from entitlements.cache.redis import RedisTier
from entitlements.config import SidecarConfig
from entitlements.domain.ports import Clock
from entitlements.domain.request_budget import Pace
from entitlements.redis.address import Topology
from entitlements.redis.connection import UNAVAILABLE, RedisConnection
from entitlements.redis.examination import Examination, examine
from entitlements.redis.fetch_lock import FetchLock
from entitlements.redis.heartbeats import Heartbeats
from entitlements.redis.keys import KeySpace
from entitlements.redis.lease import Lease, LeaseState
from entitlements.redis.notifications import Notifications
from entitlements.redis.shared_budget import SharedBudget
from entitlements.redis.tracking import KeyTracking, TrackingListener

if TYPE_CHECKING:
    from django_redis.cache import RedisCache

logger = logging.getLogger(__name__)

REDIS_CACHE = "redis"
"""The shared Redis among Django's CACHES, where REDIS_ENVIRONMENT_PREFIX is set."""
EXAMINE_SECONDS = 60.0
"""So often it is looked what Redis lets us do: rights are fixed while we run."""
EXAMINE_SOON_SECONDS = 2.0
"""The same, before it first answered."""
UNVERIFIED = "its certificate is not verified (SIDECAR_REDIS_TLS_VERIFY=off): anybody may play Redis"
LOCK_MARGIN_SECONDS = 1.0
"""A fetch lock outlives the longest fetch by this."""


@dataclass(kw_only=True)
class SharedRedis:
    """The parts that share what is known with other processes."""

    keys: KeySpace
    connection: RedisConnection
    tier: RedisTier
    notifications: Notifications
    tracking: KeyTracking
    fetch_lock: FetchLock
    lease: Lease
    edge_budget: SharedBudget
    audit_turns: SharedBudget | None
    """None where nothing is audited."""
    heartbeats: Heartbeats
    lease_state: LeaseState | None = None
    """As it was seen last, for people."""

    has_outbox: bool = False
    """True where writes wait for the cloud there."""
    topology: Topology = Topology.PLAIN
    """What kind of Redis it is."""
    is_verified: bool = True
    """False where SIDECAR_REDIS_TLS_VERIFY is off."""
    examination: Examination | None = None
    """What is known of that Redis and of our rights there; None before it first answered."""

    @asynccontextmanager
    async def running(self, background: Background, listener: TrackingListener) -> AsyncIterator[None]:
        """While entered, what others publish and change is received; leaving ends all threads."""
        self.notifications.start()
        self.tracking.start(listener)
        await self.examine()  # for the line of the start; waits no longer than any call
        try:
            async with background.kept("redis-examination", self._examine_regularly):
                yield
        finally:
            await asyncio.to_thread(self.notifications.stop)
            await asyncio.to_thread(self.tracking.stop)
            await asyncio.to_thread(self.connection.stop)

    @property
    def sentences(self) -> list[str]:
        """What a person has to know of it, the start's line and the page alike."""
        sentences = [] if self.is_verified else [UNVERIFIED]
        if self.connection.cause is not None:
            sentences.append(self.connection.cause.text)
        return sentences + ([] if self.examination is None else self.examination.sentences)

    @property
    def may_evict(self) -> bool:
        """False where it is known to give up no key of itself."""
        return self.examination is None or self.examination.may_evict is not False

    async def examine(self) -> None:
        """Looks what that Redis is and what we may do there; says what changed."""
        found = await self.connection.run(
            lambda client: examine(client, self.keys, has_outbox=self.has_outbox)
        )
        if found is UNAVAILABLE or found == self.examination:
            return
        self.examination = found
        for sentence in found.sentences:
            logger.warning("redis cannot be used as meant: %s", sentence)

    async def _examine_regularly(self) -> None:
        while True:
            await asyncio.sleep(EXAMINE_SECONDS if self.examination is not None else EXAMINE_SOON_SECONDS)
            await self.examine()


def this_process() -> str:
    """What people know it by, among all that share a Redis."""
    return f"{socket.gethostname()}/{os.getpid()}"


def shared_redis(config: SidecarConfig, clock: Clock) -> SharedRedis | None:
    """What shares with others; None where no Redis is configured, or offline."""
    if config.redis_environment_prefix is None or config.offline:
        return None
    topology = settings.REDIS_ADDRESS.topology
    keys = KeySpace(prefix=config.redis_environment_prefix, is_cluster=topology is Topology.CLUSTER)
    connection = RedisConnection(cast("RedisCache", caches[REDIS_CACHE]), clock=clock)
    notifications = Notifications(connection, pattern=keys.fetch_channels)
    return SharedRedis(
        has_outbox=config.sidecar_outbox != "off",
        topology=topology,
        is_verified=config.sidecar_redis_tls_verify or not config.redis_tls,
        keys=keys,
        connection=connection,
        tier=RedisTier(connection, keys=keys, clock=clock, ttl_seconds=config.redis_keys_ttl_in_secs),
        notifications=notifications,
        tracking=KeyTracking(connection, keys=keys, monotonic=clock.monotonic),
        fetch_lock=FetchLock(
            connection,
            notifications=notifications,
            keys=keys,
            clock=clock,
            hold_seconds=config.sidecar_fetch_budget_seconds + LOCK_MARGIN_SECONDS,
        ),
        edge_budget=SharedBudget(
            connection, name=keys.edge_budget, pace=Pace(config.sidecar_edge_requests_per_minute)
        ),
        audit_turns=SharedBudget(
            connection, name=keys.audit_turns, pace=Pace(config.sidecar_audits_per_minute)
        )
        if config.sidecar_audits_per_minute
        else None,
        heartbeats=Heartbeats(connection, name=keys.heartbeats, process=this_process()),
        lease=Lease(connection, name=keys.feed_lease, holder=this_process(), clock=clock),
    )
