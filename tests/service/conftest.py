"""The use cases on the real tiers, with scripted sources and a clock that is given the time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random

import pytest

from entitlements.background import Background
from entitlements.cache.memory import MemoryTier
from entitlements.cache.tiers import SharedTier, Tiers
from entitlements.domain.entity import Entity
from entitlements.domain.membership import Role
from entitlements.domain.overrides import NO_OVERRIDES, Overrides
from entitlements.domain.ports import Source
from entitlements.fallbacks import ConfiguredRules
from entitlements.service.cache_maintenance import CacheMaintenance
from entitlements.service.change_notifier import ChangeNotifier
from entitlements.service.circuits import Circuits
from entitlements.service.feed_applier import FeedApplier
from entitlements.service.feed_trust import FeedTrust
from entitlements.service.fetcher import EntityFetcher
from entitlements.service.reader import EntitlementReader
from entitlements.service.response_cache import ResponseCache
from entitlements.service.revalidator import Revalidator
from entitlements.service.source_chain import FetchLimits
from entitlements.service.stale_bounds import StaleBounds
from entitlements.service.usage_reporter import Receipts, UsageReporter
from tests.fakes import FakeClock, ScriptedSink, ScriptedSource

LIMITS = FetchLimits(budget_seconds=10, concurrency=4, queue_size=8)


@dataclass
class House:
    """All use cases, plugged together as in production."""

    clock: FakeClock
    memory: MemoryTier
    store: Tiers
    changes: ChangeNotifier
    edge: ScriptedSource
    api: ScriptedSource
    sink: ScriptedSink
    rules: ConfiguredRules
    fetcher: EntityFetcher
    circuits: Circuits
    revalidator: Revalidator
    feed_applier: FeedApplier
    feed_trust: FeedTrust
    reader: EntitlementReader
    response_cache: ResponseCache
    usage_reporter: UsageReporter
    maintenance: CacheMaintenance


def build_house(
    *,
    limits: FetchLimits = LIMITS,
    rules: ConfiguredRules | None = None,
    overrides: Overrides = NO_OVERRIDES,
    max_stale_seconds: float | None = None,
    shared: SharedTier | None = None,
) -> House:
    clock = FakeClock()
    memory = MemoryTier(max_size_bytes=10_000_000)
    changes = ChangeNotifier()
    feed_trust = FeedTrust(
        max_unverified_seconds=60,
        clock=clock,
        role=Role.STANDALONE if shared is None else Role.FOLLOWER,
    )
    store = Tiers(memory, shared, vouch=feed_trust.vouch, listener=changes, monotonic=clock.monotonic)
    edge = ScriptedSource(answer=Entity())
    api = ScriptedSource(answer=Entity(), source=Source.API)
    sink = ScriptedSink()
    rules = rules or ConfiguredRules({})
    circuits = Circuits([Source.EDGE, Source.API], clock=clock)
    fetcher = EntityFetcher(sources=[edge, api], circuits=circuits, store=store, clock=clock, limits=limits)
    revalidator = Revalidator(
        fetcher=fetcher,
        store=store,
        clock=clock,
        random=Random(1),
        refreshes_per_second=100_000,
        background=Background(clock.monotonic),
    )
    feed_applier = FeedApplier(
        changes=changes,
        store=store,
        fetcher=fetcher,
        revalidator=revalidator,
        clock=clock,
        feed_trust=feed_trust,
    )
    reader = EntitlementReader(
        store=store,
        fetcher=fetcher,
        revalidator=revalidator,
        feed=feed_trust,
        rules=rules,
        overrides=overrides,
        stale_bounds=StaleBounds(rules=rules, max_stale_seconds=max_stale_seconds),
        clock=clock,
    )
    receipts = Receipts(store=store, fetcher=fetcher)
    usage_reporter = UsageReporter(sink=sink, receipts=receipts, clock=clock)
    return House(
        clock=clock,
        memory=memory,
        store=store,
        changes=changes,
        edge=edge,
        api=api,
        sink=sink,
        rules=rules,
        fetcher=fetcher,
        circuits=circuits,
        revalidator=revalidator,
        feed_applier=feed_applier,
        feed_trust=feed_trust,
        reader=reader,
        response_cache=ResponseCache(replies=memory, feed=feed_trust, overrides=overrides, clock=clock),
        usage_reporter=usage_reporter,
        maintenance=CacheMaintenance(api=api, store=store, clock=clock),
    )


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        house = build_house()
        await stack.enter_async_context(house.revalidator)
        stack.push_async_callback(house.fetcher.stop)
        yield house
