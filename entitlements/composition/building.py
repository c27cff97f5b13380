"""The object graph of this process, made from the configuration."""

import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random

from django.conf import settings

from entitlements.background import Background
from entitlements.cache.memory import MemoryTier
from entitlements.cache.snapshot import Snapshot
from entitlements.cache.tiers import Tiers
from entitlements.clock import SystemClock
from entitlements.composition.cloud import ways_to_the_cloud
from entitlements.composition.outbox import outbox_parts
from entitlements.composition.process import Sidecar
from entitlements.composition.rotation import follow_api_key, follow_redis_credentials
from entitlements.composition.shared_redis import shared_redis
from entitlements.composition.shared_tables import shared_overrides, shared_rules
from entitlements.composition.states import add_parts
from entitlements.config import LoadedConfig, SidecarConfig
from entitlements.domain.gap import longest_spread
from entitlements.domain.membership import Role
from entitlements.domain.overrides import NO_OVERRIDES
from entitlements.domain.ports import Clock, ReportSink
from entitlements.fallbacks import StoredRules
from entitlements.overrides.following import StoredOverrides
from entitlements.service.cache_maintenance import CacheMaintenance
from entitlements.service.change_notifier import ChangeNotifier
from entitlements.service.drift_audit import DriftAudit
from entitlements.service.entity_history import EntityHistory
from entitlements.service.explaining import Explaining
from entitlements.service.feed_applier import FeedApplier
from entitlements.service.feed_trust import FeedTrust
from entitlements.service.fetch_throttle import FetchThrottle, ThrottledSource
from entitlements.service.fetcher import EntityFetcher
from entitlements.service.health import Health
from entitlements.service.invalidation import Invalidation
from entitlements.service.reader import EntitlementReader
from entitlements.service.recorder import Recorder
from entitlements.service.response_cache import ResponseCache
from entitlements.service.revalidator import Revalidator
from entitlements.service.secret_rotation import SecretRotation
from entitlements.service.shadow_ledger import ShadowLedger
from entitlements.service.source_chain import FetchLimits
from entitlements.service.stale_bounds import StaleBounds
from entitlements.service.store_and_forward import StoreAndForwardSink
from entitlements.service.usage_reporter import Receipts, UsageReporter
from entitlements.upstream.edge_budget import EdgeBudget
from entitlements.upstream.offline import OfflineCloud
from entitlements.upstream.offline_file import OfflineFile


@cache
def sidecar() -> Sidecar:
    """The object graph of this process, made on first use from Django's settings."""
    built = build(settings.SIDECAR.config, secret_files=settings.SIDECAR.secret_files)
    if built.redis is not None:
        follow_redis_credentials(built, settings.REDIS_ADDRESS)
    return built


def configured() -> LoadedConfig:
    """What this process was started with, and where each value came from."""
    loaded: LoadedConfig = settings.SIDECAR
    return loaded


def build(  # noqa: PLR0915 - one line for each part
    config: SidecarConfig, *, clock: Clock | None = None, secret_files: Mapping[str, Path] | None = None
) -> Sidecar:
    """The object graph of a configuration.

    Args:
        config: what is in force.
        clock: the machine's unless given otherwise.
        secret_files: where those secrets stand that are taken anew when they change, by variable.
    """
    clock, changes = clock or SystemClock(), ChangeNotifier()
    background, random = Background(clock.monotonic), Random()  # noqa: S311 - for jitter
    redis = shared_redis(config, clock)
    edge_budget = EdgeBudget(
        clock=clock,
        random=random,
        background=background,
        per_minute=config.sidecar_edge_requests_per_minute,
        fleet_size=config.sidecar_fleet_size,
        fleet=None if redis is None else redis.edge_budget,
    )
    cloud = ways_to_the_cloud(config, clock, edge_budget)
    offline_file = _offline_file(config, clock)
    offline = OfflineCloud(new_id=lambda: str(uuid.uuid4()), file=offline_file)
    history = EntityHistory(clock)
    memory = MemoryTier(max_size_bytes=config.cache_max_size_bytes)
    snapshot = _snapshot(config, memory, clock, background)
    feed_trust = FeedTrust(
        max_unverified_seconds=config.sidecar_max_unverified_seconds,
        clock=clock,
        role=Role.STANDALONE if redis is None else Role.FOLLOWER,
        dropped_writes=lambda: 0 if redis is None else redis.tier.dropped_writes,
    )
    store = Tiers(
        memory,
        None if redis is None else redis.tier,
        vouch=feed_trust.vouch,
        listener=changes,
        history=history,
        monotonic=clock.monotonic,
    )
    fetch_throttle = FetchThrottle(clock=clock)
    sources = cloud.sources(offline)
    fetcher = EntityFetcher(
        sources=[ThrottledSource(source, fetch_throttle) for source in sources],
        circuits=cloud.circuits,
        store=store,
        clock=clock,
        limits=_fetch_limits(config),
        turns=None if redis is None else redis.fetch_lock,
        prepare=edge_budget.prepare if cloud.asks_edge else None,
        last_known=snapshot,
    )
    revalidator = Revalidator(
        fetcher=fetcher,
        store=store,
        clock=clock,
        random=random,
        refreshes_per_second=config.sidecar_refreshes_per_second,
        background=background,
        room=edge_budget.room_for_recheck if cloud.asks_edge else None,
        last_gap=lambda: longest_spread((feed_trust.last_gap, cloud.circuits.last_gap)),
    )
    feed_applier = FeedApplier(
        store=store,
        fetcher=fetcher,
        revalidator=revalidator,
        clock=clock,
        feed_trust=feed_trust,
        changes=changes,
    )
    rules = StoredRules(config.entitlements_fallback, clock=clock, shared=shared_rules(redis))
    stale_bounds = StaleBounds(rules=rules, max_stale_seconds=config.sidecar_max_stale_seconds)
    overrides = None
    if config.sidecar_overrides:
        overrides = StoredOverrides(
            clock=clock, changed=feed_trust.end_replies, shared=shared_overrides(redis), history=history
        )
    reader = EntitlementReader(
        store=store,
        fetcher=fetcher,
        revalidator=revalidator,
        feed=feed_trust,
        rules=rules,
        overrides=overrides or NO_OVERRIDES,
        stale_bounds=stale_bounds,
        clock=clock,
    )
    reports = offline if config.offline else cloud.api
    receipts = Receipts(store=store, fetcher=fetcher)
    outbox = outbox_parts(config, cloud.deliveries, clock, redis, receipts.show)
    sink: ReportSink = reports
    if outbox is not None:
        sink = StoreAndForwardSink(
            sink=reports,
            dispatcher=outbox.dispatcher,
            store=store,
            clock=clock,
            keeps_usage=config.sidecar_outbox == "all",
        )
    usage_reporter = UsageReporter(sink=sink, receipts=receipts, clock=clock)
    drift_audit = None
    if config.follows_feed and config.sidecar_audits_per_minute:
        drift_audit = DriftAudit(
            holdings=memory,
            fetcher=fetcher,
            circuits=cloud.circuits,
            feed=feed_trust,
            clock=clock,
            random=random,
            per_minute=config.sidecar_audits_per_minute,
            fleet_size=config.sidecar_fleet_size,
            turns=None if redis is None else redis.audit_turns,
            room=edge_budget.room_for_audit if cloud.asks_edge else None,
        )
    built = Sidecar(
        config=config,
        clock=clock,
        background=background,
        fetch_throttle=fetch_throttle,
        random=random,
        http_client=cloud.http,
        memory=memory,
        history=history,
        store=store,
        changes=changes,
        fetcher=fetcher,
        circuits=cloud.circuits,
        edge_budget=edge_budget if cloud.asks_edge else None,
        probes=cloud.probes(),
        revalidator=revalidator,
        feed_applier=feed_applier,
        feed_trust=feed_trust,
        rules=rules,
        overrides=overrides,
        stale_bounds=stale_bounds,
        reader=reader,
        response_cache=ResponseCache(
            replies=memory,
            feed=feed_trust,
            overrides=overrides or NO_OVERRIDES,
            clock=clock,
        ),
        recorder=Recorder(clock),
        explaining=Explaining(reader=reader, rules=rules, authority=sources[-1], clock=clock),
        usage_reporter=usage_reporter,
        maintenance=CacheMaintenance(api=reports, store=store, clock=clock),
        key_check=cloud.key_check,
        key_checker=reports,
        health=Health(clock),
        secret_rotation=SecretRotation(secret_files or {}, clock=clock),
        drift_audit=drift_audit,
        outbox=outbox,
        redis=redis,
        offline_file=offline_file,
        snapshot=snapshot,
        shadow=_shadow_ledger(config, clock),
    )
    if redis is not None:
        built.invalidation = Invalidation(
            store=store,
            own_writes=redis.tier.own_writes,
            changes=changes,
            feed_applier=feed_applier,
            feed_trust=feed_trust,
            background=background,
            may_evict=lambda: redis.may_evict,
        )
    follow_api_key(built)
    add_parts(built)
    return built


def _offline_file(config: SidecarConfig, clock: Clock) -> OfflineFile | None:
    if config.sidecar_offline_file is None or not config.offline:
        return None
    return OfflineFile(config.sidecar_offline_file, clock=clock)


def _shadow_ledger(config: SidecarConfig, clock: Clock) -> ShadowLedger | None:
    address = config.sidecar_shadow_address
    return None if address is None else ShadowLedger(address=address, clock=clock)


def _snapshot(
    config: SidecarConfig, memory: MemoryTier, clock: Clock, background: Background
) -> Snapshot | None:
    if config.sidecar_snapshot_file is None:
        return None
    return Snapshot(
        config.sidecar_snapshot_file,
        memory=memory,
        clock=clock,
        max_size_bytes=config.cache_max_size_bytes,
        background=background,
    )


def _fetch_limits(config: SidecarConfig) -> FetchLimits:
    return FetchLimits(
        budget_seconds=config.sidecar_fetch_budget_seconds,
        concurrency=config.sidecar_fetch_concurrency,
        queue_size=config.sidecar_fetch_queue_size,
    )
