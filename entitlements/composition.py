"""Configuration in, object graph out: the only file that names the concrete parts."""

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, cast

import httpx
import stamina.instrumentation
from django.conf import settings
from django.core.cache import caches

from entitlements.cache.connection import RedisConnection
from entitlements.cache.fetch_lock import FetchLock
from entitlements.cache.keys import KeySpace
from entitlements.cache.lease import Hold, Lease, LeaseState
from entitlements.cache.memory import MemoryTier
from entitlements.cache.notifications import Notifications
from entitlements.cache.redis import RedisTier
from entitlements.cache.snapshot import Snapshot
from entitlements.cache.tiers import Tiers
from entitlements.clock import SystemClock
from entitlements.config import SidecarConfig
from entitlements.domain.freshness import Trust
from entitlements.domain.outbox import OutboxLimits
from entitlements.domain.ports import Clock, EntitySource, FeedListener, ReportSink
from entitlements.fallbacks import StoredRules
from entitlements.outbox.local_file import LocalFileOutbox
from entitlements.outbox.redis_stream import RedisStreamOutbox
from entitlements.service.delivering import Delivering
from entitlements.service.fetching import Fetching, FetchLimits
from entitlements.service.following import Following
from entitlements.service.health import Health, PartState
from entitlements.service.keeping import Keeping
from entitlements.service.key_check import KeyCheck
from entitlements.service.reading import Reading
from entitlements.service.rechecking import Rechecking
from entitlements.service.reporting import Reporting
from entitlements.service.sharing import Role, Sharing
from entitlements.upstream import exchange
from entitlements.upstream.edge import EdgeSource
from entitlements.upstream.feed import Feed, FeedState, FeedTimings
from entitlements.upstream.graphql import GraphqlApi
from entitlements.upstream.offline import OfflineCloud
from entitlements.upstream.offline_file import OfflineFile

if TYPE_CHECKING:
    from django_redis.cache import RedisCache

VERSION = "0.1.0"
_INSTANCE_ID = str(uuid.uuid4())
REDIS_CACHE = "redis"
"""The shared Redis among Django's CACHES, where REDIS_ENVIRONMENT_PREFIX is set."""
OUTBOX_FILE = "outbox.sqlite3"
"""In SIDECAR_DATA_DIR, where there is no Redis."""
FOLLOWING_THROUGH_HOLDER = "following through holder"
"""The feed's phase in a process that hears of every change from the lease's holder."""
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


@dataclass(kw_only=True)
class OutboxParts:
    """What keeps writes while the cloud is away, and delivers them later."""

    delivering: Delivering
    store: LocalFileOutbox | RedisStreamOutbox
    lease: Lease | None
    """Held by the process that delivers for all, where several share the outbox."""
    grace_seconds: float

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While entered, what waits is delivered; leaving delivers the rest within the grace period."""
        task = asyncio.create_task(self.delivering.run(), name="outbox")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.delivering.drain(grace_seconds=self.grace_seconds)
            await self.close()

    async def close(self) -> None:
        """Lets another process deliver, and closes what is open."""
        if self.lease is not None:
            await self.lease.release()
        await self.store.stop()


@dataclass(kw_only=True)
class Sidecar:
    """The parts of one process."""

    config: SidecarConfig
    clock: Clock
    random: Random
    http_client: httpx.AsyncClient
    memory: MemoryTier
    store: Tiers
    fetching: Fetching
    rechecking: Rechecking
    following: Following
    sharing: Sharing
    rules: StoredRules
    reading: Reading
    reporting: Reporting
    key_check: KeyCheck
    health: Health
    outbox: OutboxParts | None = None
    redis: SharedRedis | None = None
    feed: Feed | None = None
    offline_file: OfflineFile | None = None
    snapshot: Snapshot | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While entered, background work is done; leaving ends it and closes what is open."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.http_client.aclose)
            if self.redis is not None:
                await stack.enter_async_context(self.redis.running())
            if self.snapshot is not None:
                stack.callback(self.snapshot.close)
                interval_seconds = self.config.sidecar_snapshot_interval_seconds
                _run_beside(stack, self.snapshot.keep(interval_seconds=interval_seconds), name="snapshot")
            stack.push_async_callback(self.fetching.stop)
            await stack.enter_async_context(self.rules.followed())
            await stack.enter_async_context(self.rechecking)
            if self.offline_file is not None:
                _run_beside(stack, self.offline_file.follow(self.memory.clear), name="offline-file")
            if self.outbox is not None:
                await stack.enter_async_context(self.outbox.running())
            _run_beside(stack, self.key_check.run(), name="key-check")
            yield

    def open_feed(self, listener: FeedListener) -> Feed:
        """The feed of this process, for its worker to run."""
        self.feed = Feed(
            url=self.config.ws_url,
            headers=identity_headers(self.config),
            listener=listener,
            clock=self.clock,
            random=self.random,
            timings=FeedTimings(
                ping_seconds=self.config.sidecar_feed_ping_seconds,
                idle_seconds=self.config.sidecar_feed_idle_timeout_seconds,
            ),
        )
        return self.feed


@cache
def sidecar() -> Sidecar:
    """The object graph of this process, made on first use from Django's settings."""
    return build(settings.SIDECAR.config)


def data_dir() -> Path:
    """The folder of what outlives the process (SIDECAR_DATA_DIR)."""
    folder: Path = settings.DATA_DIR
    return folder


def build(config: SidecarConfig, *, clock: Clock | None = None) -> Sidecar:
    """The object graph of a configuration.

    Args:
        config: what is in force.
        clock: the machine's unless told otherwise.
    """
    stamina.instrumentation.set_on_retry_hooks([])  # retries show in our own metrics
    clock = clock or SystemClock()
    random = Random()  # noqa: S311 - for jitter
    client = exchange.client(identity_headers(config))
    api = GraphqlApi(client, base_url=config.api_url, clock=clock)
    edge = EdgeSource(client, base_url=config.edge_api_url, clock=clock)
    offline_file = _offline_file(config, clock)
    offline = OfflineCloud(new_id=lambda: str(uuid.uuid4()), file=offline_file)
    memory = MemoryTier(max_size_bytes=config.cache_max_size_bytes)
    redis = _shared_redis(config, clock)
    snapshot = _snapshot(config, memory, clock)
    store = Tiers(
        memory,
        None if redis is None else redis.tier,
        vouch=lambda confirmed_at: sharing.vouch(confirmed_at),  # noqa: PLW0108 - made below, of the store itself
    )
    sources = _sources(config, edge=edge, api=api, offline=offline)
    fetching = Fetching(
        sources=sources,
        store=store,
        clock=clock,
        limits=_fetch_limits(config),
        turns=None if redis is None else redis.fetch_lock,
        last_known=snapshot,
    )
    rechecking = Rechecking(
        fetching=fetching,
        store=store,
        clock=clock,
        random=random,
        refreshes_per_second=config.sidecar_refreshes_per_second,
    )
    following = Following(
        store=store,
        fetching=fetching,
        rechecking=rechecking,
        clock=clock,
        max_unverified_seconds=config.sidecar_max_unverified_seconds,
    )
    sharing = Sharing(
        following=following,
        clock=clock,
        dropped_writes=lambda: 0 if redis is None else redis.tier.dropped_writes,
    )
    rules = StoredRules(config.entitlements_fallback, clock=clock)
    reading = Reading(
        store=store,
        fetching=fetching,
        rechecking=rechecking,
        following=following,
        rules=rules,
        clock=clock,
    )
    cloud = offline if config.offline else api
    outbox = _outbox(config, cloud, clock, redis)
    sink: ReportSink = cloud
    if outbox is not None:
        sink = Keeping(
            sink=cloud,
            delivering=outbox.delivering,
            store=store,
            clock=clock,
            keeps_usage=config.sidecar_outbox == "all",
        )
    reporting = Reporting(sink=sink, api=cloud, store=store, fetching=fetching, clock=clock)
    if outbox is not None:
        outbox.delivering.show = reporting.show
    built = Sidecar(
        config=config,
        clock=clock,
        random=random,
        http_client=client,
        memory=memory,
        store=store,
        fetching=fetching,
        rechecking=rechecking,
        following=following,
        sharing=sharing,
        rules=rules,
        reading=reading,
        reporting=reporting,
        key_check=KeyCheck(checker=cloud, clock=clock),
        health=Health(),
        outbox=outbox,
        redis=redis,
        offline_file=offline_file,
        snapshot=snapshot,
    )
    _add_parts(built)
    return built


def _run_beside(stack: AsyncExitStack, work: Coroutine[None, None, None], *, name: str) -> None:
    """Runs the work as a task; leaving the stack cancels it and waits for its end."""
    task = asyncio.create_task(work, name=name)
    stack.push_async_callback(partial(asyncio.gather, task, return_exceptions=True))
    stack.callback(task.cancel)


def _holder() -> str:
    """This process, for people who look at a lease."""
    return f"{socket.gethostname()}/{os.getpid()}"


def _shared_redis(config: SidecarConfig, clock: Clock) -> SharedRedis | None:
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
        lease=Lease(connection, name=keys.feed_lease, holder=_holder(), clock=clock),
    )


def _offline_file(config: SidecarConfig, clock: Clock) -> OfflineFile | None:
    if config.sidecar_offline_file is None or not config.offline:
        return None
    return OfflineFile(config.sidecar_offline_file, clock=clock)


def _outbox(
    config: SidecarConfig, sink: ReportSink, clock: Clock, redis: SharedRedis | None
) -> OutboxParts | None:
    if config.sidecar_outbox == "off" or config.offline:
        return None
    limits = OutboxLimits(
        max_entries=config.sidecar_outbox_max_entries, max_bytes=config.sidecar_outbox_max_bytes
    )
    store: LocalFileOutbox | RedisStreamOutbox
    lease = None
    if redis is None:
        store = LocalFileOutbox(data_dir() / OUTBOX_FILE, limits=limits, clock=clock)
    else:
        name = redis.keys.outbox
        store = RedisStreamOutbox(redis.connection, name=name, limits=limits, clock=clock)
        lease = Lease(redis.connection, name=f"{name}:lease", holder=_holder(), clock=clock)

    async def may_deliver() -> bool:
        return lease is None or await lease.try_hold() is Hold.OURS

    delivering = Delivering(
        outbox=store,
        sink=sink,
        clock=clock,
        random=Random(),  # noqa: S311 - for jitter
        may_deliver=may_deliver,
    )
    return OutboxParts(
        delivering=delivering, store=store, lease=lease, grace_seconds=config.sidecar_shutdown_grace_seconds
    )


def identity_headers(config: SidecarConfig) -> Mapping[str, str]:
    """The headers that say who asks (contract/upstream.md)."""
    return {
        "X-API-KEY": config.server_api_key.get_secret_value(),
        "X-SDK-INSTANCE-ID": _INSTANCE_ID,
        "User-Agent": f"stigg-sidecar-python/{VERSION}",
    }


def _sources(
    config: SidecarConfig, *, edge: EntitySource, api: EntitySource, offline: EntitySource
) -> list[EntitySource]:
    if config.offline:
        return [offline]
    return [edge, api] if config.edge_enabled else [api]


def _snapshot(config: SidecarConfig, memory: MemoryTier, clock: Clock) -> Snapshot | None:
    if config.sidecar_snapshot_file is None:
        return None
    return Snapshot(
        config.sidecar_snapshot_file,
        memory=memory,
        clock=clock,
        max_size_bytes=config.cache_max_size_bytes,
    )


def _fetch_limits(config: SidecarConfig) -> FetchLimits:
    return FetchLimits(
        budget_seconds=config.sidecar_fetch_budget_seconds,
        concurrency=config.sidecar_fetch_concurrency,
        queue_size=config.sidecar_fetch_queue_size,
    )


def _add_parts(built: Sidecar) -> None:
    built.health.add_part("upstream", lambda: _upstream_state(built))
    built.health.add_part("feed", lambda: _feed_state(built))
    built.health.add_part(
        "memory", lambda: {"entries": built.memory.entries, "bytes": built.memory.size_bytes}
    )

    built.health.add_part("outbox", lambda: _outbox_state(built))
    if built.redis is not None:
        redis = built.redis
        built.health.add_part("redis", lambda: _redis_state(redis))

    if built.offline_file is not None:
        file = built.offline_file
        built.health.add_part("offline_file", lambda: _offline_state(file))

    if built.snapshot is not None:
        snapshot = built.snapshot
        built.health.add_part("snapshot", lambda: _snapshot_state(snapshot))


def _snapshot_state(snapshot: Snapshot) -> PartState:
    return {
        "file": str(snapshot.path),
        "entities": snapshot.entities,
        "written_ms": snapshot.written_ms,
    }


def _offline_state(file: OfflineFile) -> PartState:
    return {
        "file": str(file.path),
        "entities": file.entities,
        "loaded_ms": file.loaded_ms,
        "problems": len(file.problems),
    }


def _outbox_state(built: Sidecar) -> PartState:
    if built.outbox is None:
        return {"mode": "off"}
    state = built.outbox.delivering.state
    oldest_ms = state.oldest_accepted_at_ms
    return {
        "mode": built.config.sidecar_outbox,
        "waiting": state.waiting,
        "dead": state.dead,
        "bytes": state.size_bytes,
        "oldest_age_seconds": oldest_ms and max(0, built.clock.now_ms() - oldest_ms) / 1000,
        **built.outbox.delivering.counts,
    }


def _redis_state(redis: SharedRedis) -> PartState:
    lease = redis.lease_state
    return {
        "answering": redis.connection.is_answering,
        "dropped_writes": redis.tier.dropped_writes,
        "feed_lease_holder": lease and lease.holder,
        "feed_lease_age_seconds": lease and round(lease.age_seconds, 1),
    }


def _upstream_state(built: Sidecar) -> PartState:
    return {
        "api_key": built.key_check.verdict.value,
        "circuits": {source.value: state.value for source, state in built.fetching.breaker_states.items()},
    }


def _feed_state(built: Sidecar) -> PartState:
    state = built.feed.state if built.feed is not None else FeedState()
    trust: Trust = built.following.trust
    hears = built.redis is not None and built.sharing.role is Role.HEARING
    return {
        "enabled": built.config.follows_feed,
        "phase": FOLLOWING_THROUGH_HOLDER if hears and trust.following else state.phase.value,
        "since_ms": state.since_ms,
        "last_event_ms": state.last_event_ms,
        "problem": state.problem and state.problem.value,
        "failed_attempts": state.failed_attempts,
        "role": built.sharing.role.value if built.redis is not None else Role.ALONE.value,
        "following": trust.following,
        "suspects_waiting": built.rechecking.waiting,
    }
