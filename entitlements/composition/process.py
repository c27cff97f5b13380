"""The parts of one process, and what runs beside its listeners."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from random import Random

from entitlements import metrics
from entitlements.background import Background
from entitlements.cache.memory import MemoryTier
from entitlements.cache.snapshot import Snapshot
from entitlements.cache.tiers import Tiers
from entitlements.composition.cloud import VERSION
from entitlements.composition.outbox import OutboxParts
from entitlements.composition.shared_redis import SharedRedis
from entitlements.config import SidecarConfig
from entitlements.deferred_metrics import settle_all
from entitlements.domain.ports import Clock, FeedListener, Source
from entitlements.fallbacks import StoredRules
from entitlements.overrides.following import StoredOverrides
from entitlements.redis.heartbeats import BEAT_SECONDS, Condition, Heartbeats
from entitlements.service.cache_maintenance import CacheMaintenance
from entitlements.service.change_notifier import ChangeNotifier
from entitlements.service.circuits import Circuits, Probe
from entitlements.service.drift_audit import DriftAudit
from entitlements.service.entity_history import EntityHistory
from entitlements.service.explaining import Explaining
from entitlements.service.feed_applier import FeedApplier
from entitlements.service.feed_trust import FeedTrust
from entitlements.service.fetch_throttle import FetchThrottle
from entitlements.service.fetcher import EntityFetcher
from entitlements.service.health import Health
from entitlements.service.invalidation import Invalidation
from entitlements.service.key_check import KeyCheck, KeyChecker
from entitlements.service.reader import EntitlementReader
from entitlements.service.recorder import Recorder
from entitlements.service.response_cache import ResponseCache
from entitlements.service.revalidator import Revalidator
from entitlements.service.secret_rotation import SecretRotation
from entitlements.service.shadow_ledger import ShadowLedger
from entitlements.service.stale_bounds import StaleBounds
from entitlements.service.usage_reporter import UsageReporter
from entitlements.upstream.edge_budget import EdgeBudget
from entitlements.upstream.feed import Feed
from entitlements.upstream.feed_connection import FeedTimings
from entitlements.upstream.offline_file import OfflineFile
from entitlements.upstream.transport import CloudTransport


@dataclass(kw_only=True)
class Sidecar:
    """The parts of one process."""

    config: SidecarConfig
    clock: Clock
    background: Background
    fetch_throttle: FetchThrottle
    random: Random
    http_client: CloudTransport
    memory: MemoryTier
    history: EntityHistory
    store: Tiers
    changes: ChangeNotifier
    fetcher: EntityFetcher
    circuits: Circuits
    edge_budget: EdgeBudget | None
    """None where the Edge is not asked."""
    probes: Mapping[Source, Probe]
    revalidator: Revalidator
    feed_applier: FeedApplier
    feed_trust: FeedTrust
    rules: StoredRules
    stale_bounds: StaleBounds
    reader: EntitlementReader
    response_cache: ResponseCache
    recorder: Recorder
    explaining: Explaining
    usage_reporter: UsageReporter
    maintenance: CacheMaintenance
    key_check: KeyCheck
    key_checker: KeyChecker
    health: Health
    secret_rotation: SecretRotation
    drift_audit: DriftAudit | None = None
    """None where SIDECAR_AUDITS_PER_MINUTE is 0, and offline."""
    outbox: OutboxParts | None = None
    redis: SharedRedis | None = None
    invalidation: Invalidation | None = None
    """What is done with what Redis names; None without one."""
    feed: Feed | None = None
    offline_file: OfflineFile | None = None
    overrides: StoredOverrides | None = None
    """None where SIDECAR_OVERRIDES is off."""
    snapshot: Snapshot | None = None
    shadow: ShadowLedger | None = None
    """What was found with SIDECAR_SHADOW_ADDRESS."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While entered, background work is done; leaving ends it and closes what is open."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.http_client.aclose)
            stack.push_async_callback(self.background.stop)
            if self.redis is not None and self.invalidation is not None:
                await stack.enter_async_context(self.redis.running(self.background, self.invalidation))
            if self.snapshot is not None:
                stack.callback(self.snapshot.close)
                interval_seconds = self.config.sidecar_snapshot_interval_seconds
                await stack.enter_async_context(self.snapshot.kept(interval_seconds=interval_seconds))
            stack.push_async_callback(self.fetcher.stop)
            await stack.enter_async_context(self.rules.followed(self.background))
            if self.overrides is not None:
                await stack.enter_async_context(self.overrides.followed(self.background))
            await stack.enter_async_context(self.revalidator)
            if self.outbox is not None:
                await stack.enter_async_context(self.outbox.running(self.background))
            for name, work in self._beside().items():
                await stack.enter_async_context(self.background.kept(name, work))
            yield

    def _beside(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What needs nothing but to be kept running."""
        always: dict[str, Callable[[], Awaitable[None]]] = {
            "key-check": partial(self.key_check.run, self.key_checker),
            "health": self.health.watch,
            "metrics": _settle_metrics,
            "circuits": partial(self.circuits.probe, self.probes),
        }
        if self.secret_rotation.files:
            always["secrets"] = self.secret_rotation.run
        if self.redis is not None:
            always["heartbeat"] = partial(self._beat, self.redis.heartbeats)
        if self.drift_audit is not None:
            always["drift-audit"] = self.drift_audit.run
        if self.offline_file is None:
            return always
        return always | {"offline-file": partial(self.offline_file.follow, self.memory.clear)}

    async def _beat(self, heartbeats: Heartbeats) -> None:
        """Says how this process is while it runs; of those that were killed nothing is left by then."""
        await heartbeats.read()
        try:
            while True:
                await heartbeats.beat(self._condition())
                await asyncio.sleep(BEAT_SECONDS)
        finally:
            await heartbeats.end()

    def _condition(self) -> Condition:
        return Condition(
            version=VERSION,
            role=self.feed_trust.membership.role.value,
            up_seconds=self.health.uptime_seconds,
            entries=self.memory.entries,
            problems=[name for name, state in self.health.parts().items() if state["problem"]],
        )

    def open_feed(self, listener: FeedListener) -> Feed:
        """The feed of this process, for its worker to run."""
        self.feed = Feed(
            url=self.config.ws_url,
            identity=self.http_client.identity,
            listener=listener,
            clock=self.clock,
            random=self.random,
            network=self.http_client.network,
            answered=partial(self.circuits.answered, Source.API),
            timings=FeedTimings(
                ping_seconds=self.config.sidecar_feed_ping_seconds,
                idle_seconds=self.config.sidecar_feed_idle_timeout_seconds,
            ),
        )
        return self.feed


async def _settle_metrics() -> None:
    """Several processes are scraped by what each has written down, which is not asked to settle."""
    try:
        while True:
            await asyncio.sleep(metrics.SETTLE_SECONDS)
            settle_all()
    finally:
        settle_all()
