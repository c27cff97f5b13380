"""A model of the whole cache: what a process may answer, whatever happens to its tiers and its feed.

Two processes share a real Redis. One follows the feed and writes Redis, which names to the other what changed
there. The model knows every version that the cloud ever had, and what each process has learned.
"""

import asyncio
import math
from collections.abc import Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar, cast

from entitlements.background import Background
from entitlements.cache.memory import MemoryTier
from entitlements.cache.redis import RedisTier
from entitlements.cache.tiers import Tiers
from entitlements.domain.decision import Query
from entitlements.domain.entitlement import EnumEntitlement, MeteredEntitlement
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate
from entitlements.domain.errors import Unreachable
from entitlements.domain.events import EntitlementsChanged, FeedEvent, UsageChanged
from entitlements.domain.freshness import EntityState
from entitlements.domain.membership import LeaderState, LeaseStatus, Membership, Role
from entitlements.domain.overrides import NO_OVERRIDES
from entitlements.domain.ports import Source
from entitlements.fallbacks import ConfiguredRules
from entitlements.service.change_notifier import ChangeNotifier
from entitlements.service.circuits import Circuits
from entitlements.service.feed_applier import FeedApplier
from entitlements.service.feed_trust import FeedTrust
from entitlements.service.fetcher import EntityFetcher
from entitlements.service.reader import EntitlementReader
from entitlements.service.revalidator import Revalidator
from entitlements.service.source_chain import FetchLimits
from entitlements.service.stale_bounds import StaleBounds
from tests.builders import a_metered_feature, a_usage, an_entity, an_enum_feature
from tests.fakes import FakeClock

KEYS = (
    EntityKey("a"),
    EntityKey("a", "b"),
    EntityKey("a:r_b"),
    EntityKey("c"),
    EntityKey("c", "b"),
)
MEMORY_BYTES = 6_000
"""Room for about three of them, so that they evict each other."""
MAX_UNVERIFIED_SECONDS = 60.0
TTL_SECONDS = 604_800
LIMITS = FetchLimits(budget_seconds=10, concurrency=4, queue_size=8)

_Result = TypeVar("_Result")


@dataclass
class Version:
    """What the cloud holds of one key, and since when."""

    number: int
    used: int
    since: float


@dataclass
class Cloud:
    """An EntitySource that knows the truth, and all that was true before."""

    clock: FakeClock
    source: Source = Source.EDGE
    is_up: bool = True
    histories: dict[EntityKey, list[Version]] = field(default_factory=dict)

    def change(self, key: EntityKey, *, number: int = 0, used: int = 0) -> FeedEvent:
        """Move on by so much; returns what the feed sends of it."""
        self.clock.advance(0.001)
        before = self.now(key)
        history = self.histories.setdefault(key, [before])
        history.append(Version(before.number + number, before.used + used, self.clock.seconds))
        if used:
            update = UsageUpdate(
                feature_id="m", current=float(before.used + used), updated_at_ms=self.clock.now_ms()
            )
            return UsageChanged(key=key, update=update)
        return EntitlementsChanged(key=key, entity=self.entity(key))

    def now(self, key: EntityKey) -> Version:
        """What it holds at this moment."""
        return self.histories.get(key, [Version(1, 0, 0.0)])[-1]

    def at(self, key: EntityKey, moment: float) -> Version:
        """What it held at that moment."""
        history = self.histories.get(key, [Version(1, 0, 0.0)])
        return [history[0], *(each for each in history if each.since <= moment)][-1]

    def entity(self, key: EntityKey) -> Entity:
        """Its word on this key: the version is a limit, and whose it is stands in it."""
        version = self.now(key)
        history = self.histories.get(key, [version])
        changed = next(each for each in history if each.number == version.number)
        moved = next(each for each in history if each.used == version.used)
        return an_entity(
            an_enum_feature("whose", values=(repr(key),)),
            a_metered_feature(
                "m",
                limit=float(version.number),
                usage=a_usage(float(version.used), updated_at_ms=self._stamp_ms(moved)),
            ),
            updated_at_ms=self._stamp_ms(changed),
        )

    async def fetch(self, key: EntityKey, *, budget_seconds: float) -> Entity:
        """What it holds, if it is up."""
        assert budget_seconds > 0
        if not self.is_up:
            raise Unreachable("edge", "could not be reached")
        return self.entity(key)

    def _stamp_ms(self, version: Version) -> int:
        return max(1, self.clock.now_ms() - round((self.clock.seconds - version.since) * 1000))


@dataclass
class Process:
    """The cache of one process, and what the model knows of it."""

    cloud: Cloud
    shared: RedisTier
    leads: bool
    pending: list[FeedEvent] = field(default_factory=list)
    seen: dict[EntityKey, Version] = field(default_factory=dict)
    followed_since: float | None = None
    lost_at: float = float("-inf")

    async def start(self) -> None:
        """A new process: nothing in memory, nothing followed."""
        clock = self.cloud.clock
        self.memory = MemoryTier(max_size_bytes=MEMORY_BYTES)
        self.feed_trust = FeedTrust(
            max_unverified_seconds=MAX_UNVERIFIED_SECONDS,
            clock=clock,
            role=Role.FOLLOWER,
            dropped_writes=lambda: self.shared.dropped_writes,
        )
        self.store = Tiers(self.memory, self.shared, vouch=self.feed_trust.vouch, monotonic=clock.monotonic)
        self.fetcher = EntityFetcher(
            sources=[self.cloud],
            circuits=Circuits([self.cloud.source], clock=clock),
            store=self.store,
            clock=clock,
            limits=LIMITS,
        )
        self.revalidator = Revalidator(
            fetcher=self.fetcher,
            store=self.store,
            clock=clock,
            random=Random(1),
            refreshes_per_second=1_000_000,
            background=Background(clock.monotonic),
        )
        self.feed_applier = FeedApplier(
            changes=ChangeNotifier(),
            store=self.store,
            fetcher=self.fetcher,
            revalidator=self.revalidator,
            clock=clock,
            feed_trust=self.feed_trust,
        )
        self.reader = EntitlementReader(
            store=self.store,
            fetcher=self.fetcher,
            revalidator=self.revalidator,
            feed=self.feed_trust,
            rules=ConfiguredRules({}),
            overrides=NO_OVERRIDES,
            stale_bounds=StaleBounds(rules=ConfiguredRules({}), max_stale_seconds=None),
            clock=clock,
        )
        self.pending.clear()
        self.seen.clear()
        self.followed_since, self.lost_at = None, float("-inf")  # of before it began it received nothing
        await self.revalidator.__aenter__()

    async def end(self) -> None:
        """It is no more."""
        await self.revalidator.__aexit__()
        await self.fetcher.stop()

    async def apply(self, event: FeedEvent) -> None:
        """Send it one change, in whatever order; who follows through Redis hears what was named there."""
        key = cast("EntitlementsChanged | UsageChanged", event).key
        if not self.leads:
            self._name(key, is_whole=isinstance(event, EntitlementsChanged))
            return
        await self.feed_applier.apply(event)
        number, used = _cause_of(event)
        before = self.seen.get(key, Version(0, 0, 0.0))
        if isinstance(event, UsageChanged):
            used = used if self.memory.peek(key) is not None else 0
        self.seen[key] = Version(max(before.number, number), max(before.used, used), 0.0)

    def lead(self) -> None:
        """It has the lease and its feed is up."""
        self.feed_trust.move(Membership.tracking_began)
        self.feed_trust.move(
            lambda member, now: member.leased(LeaseStatus.OURS, now=now, held_until=math.inf)
        )
        self.feed_applier.followed()
        self.followed_since = self.cloud.clock.seconds

    def follow(self, leader: "Process") -> None:
        """It reads what the lease of the leader says."""
        epoch, now = leader.feed_trust.membership.epoch, self.cloud.clock.seconds
        state = LeaderState(token=str(id(leader.memory)), epoch=epoch, complete_since=epoch, renewed_at=now)
        if not self.feed_trust.membership.is_tracking:
            self.feed_trust.move(Membership.tracking_began)
        self.feed_trust.move(lambda member, now: member.leased(LeaseStatus.OTHERS, now=now, leader=state))
        self.followed_since = None if epoch is None else now
        self.lost_at = now if epoch is None else self.lost_at

    def _name(self, key: EntityKey, *, is_whole: bool) -> None:
        self.store.name(key)
        for resource in self.store.resources_of(key.customer_id) if is_whole else ():
            self.store.name(resource)

    async def read(self, key: EntityKey) -> tuple[Version | None, EntityState | None]:
        """What it answers of this key, and how sure it is; None for a fallback."""
        whose = await self.reader.check(Query(key=key, feature_id="whose"))
        meter = await self.reader.check(Query(key=key, feature_id="m"))
        if whose.decision.is_fallback or meter.decision.is_fallback:
            assert whose.decision.is_fallback or self.memory.peek(key) is None
            return None, None
        basis, metered = whose.decision.basis, meter.decision.basis
        assert isinstance(basis, EnumEntitlement)
        assert isinstance(metered, MeteredEntitlement)
        assert (repr(key),) == basis.enum_values, f"{key} was answered what {basis.enum_values} has"
        return Version(int(metered.usage_limit or 0), int(metered.usage.current), 0.0), meter.provenance.state

    async def settled(self) -> None:
        """Returns once nothing is done in the background any more."""
        while self.revalidator.waiting or len(self.revalidator._tasks) > 1 or self.fetcher._flights:  # noqa: ASYNC110
            await asyncio.sleep(0)  # nothing says when the last of them is done


def _cause_of(event: FeedEvent) -> tuple[int, int]:
    if isinstance(event, UsageChanged):
        return 0, int(event.update.current)
    assert isinstance(event, EntitlementsChanged)
    if event.entity is None:
        return 0, 0
    metered = event.entity.features["m"]
    assert isinstance(metered, MeteredEntitlement)
    return int(metered.usage_limit or 0), 0


def floor_of(cloud: Cloud, key: EntityKey, process: Process, others: list[FeedEvent]) -> Version:
    """The oldest that a fresh answer may be: what is on its way to the process may be missing in it."""
    held = process.memory.peek(key)
    is_unheard = not process.leads and held is not None and held.is_missing
    if process.followed_since is None or is_unheard:
        moment = max(process.lost_at, cloud.clock.seconds - MAX_UNVERIFIED_SECONDS)
        return cloud.at(key, moment)
    floor = cloud.now(key)
    for event in [*process.pending, *others]:
        if cast("EntitlementsChanged | UsageChanged", event).key == key:
            number, used = _cause_of(event)
            floor = Version(
                min(floor.number, (number or floor.number + 1) - 1),
                min(floor.used, used - 1 if isinstance(event, UsageChanged) else floor.used),
                0.0,
            )
    return floor


def finished(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, _Result]) -> _Result:
    """What the coroutine returns."""
    return loop.run_until_complete(work)
