"""What Redis names is looked at again where it is held, and costs nothing where it is not."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import pytest

from entitlements.background import Background
from entitlements.cache.tiers import Miss, Shared
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.decision import Query
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate, with_usage
from entitlements.domain.events import EntitlementsChanged, UsageChanged
from entitlements.domain.freshness import NEVER
from entitlements.domain.gap import NO_GAP, Gap
from entitlements.domain.membership import LeaderState, LeaseStatus, Membership, Role
from entitlements.domain.ports import FetchClaim
from entitlements.redis.keys import Change
from entitlements.redis.own_writes import OwnWrites
from entitlements.service.feed_trust import FeedTrust
from entitlements.service.invalidation import Invalidation
from tests.builders import a_metered_feature, a_usage, an_entity
from tests.eventually import eventually
from tests.fakes import FakeClock
from tests.service.conftest import House, build_house

CUSTOMER, RESOURCE, OTHER = EntityKey("a"), EntityKey("a", "r"), EntityKey("other")


class SharedDict:
    """A shared tier in a dict, in which others write as well."""

    def __init__(self) -> None:
        self.held: dict[EntityKey, CachedEntity] = {}
        self.reads = 0

    async def get(self, key: EntityKey, *, claim: FetchClaim | None = None) -> CachedEntity | Miss:
        self.reads += 1
        return self.held.get(key, Miss.ABSENT)

    async def store(self, key: EntityKey, cached: CachedEntity, *, claim: FetchClaim | None = None) -> Shared:
        self.held[key] = cached
        return Shared.TAKEN

    async def apply_usage(self, key: EntityKey, update: UsageUpdate) -> Shared:
        held = self.held.get(key)
        entity = None if held is None else with_usage(held.entity, update)
        if held is None or entity is None:
            return Shared.MISSING
        self.held[key] = replace(held, entity=entity)
        return Shared.TAKEN

    async def drop(self, key: EntityKey) -> None:
        self.held.pop(key, None)


@dataclass
class Process:
    """A process that shares a Redis."""

    house: House
    shared: SharedDict
    own: OwnWrites
    trust: FeedTrust
    background: Background
    invalidation: Invalidation

    async def usage(self, key: EntityKey = CUSTOMER) -> tuple[float, str]:
        """The usage that it answers, and from where."""
        answer = await self.house.reader.check(Query(key=key, feature_id="m"))
        basis = answer.decision.basis
        return basis.usage.current, answer.provenance.source.value  # type: ignore[union-attr]

    def follows(self) -> None:
        """Another leads, and says so."""
        now = self.house.clock.monotonic()
        leader = LeaderState(token="one", epoch=1.0, complete_since=0.0, renewed_at=now)
        self.trust.move(lambda member, now: member.leased(LeaseStatus.OTHERS, now=now, leader=leader))

    def leads(self) -> None:
        """It has the lease, and its feed is up."""
        self.trust.move(lambda member, now: member.leased(LeaseStatus.OURS, now=now, held_until=now + 6))
        self.house.feed_applier.followed()


def _entity(used: float, *, at_ms: int = 1) -> Entity:
    return an_entity(a_metered_feature("m", limit=100, usage=a_usage(used, updated_at_ms=at_ms)))


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    shared = SharedDict()
    house = build_house(shared=shared)
    own, background = OwnWrites(house.clock.monotonic), Background(house.clock.monotonic)
    invalidation = Invalidation(
        store=house.store,
        own_writes=own,
        changes=house.changes,
        feed_applier=house.feed_applier,
        feed_trust=house.feed_trust,
        background=background,
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(house.revalidator)
        stack.push_async_callback(house.fetcher.stop)
        stack.push_async_callback(background.stop)
        invalidation.tracking_began()
        house.edge.answer = _entity(4)
        yield Process(house, shared, own, house.feed_trust, background, invalidation)


async def test_what_others_wrote_is_read_on_the_next_use(process: Process) -> None:
    process.follows()
    await process.usage()
    process.house.clock.advance(1)
    process.shared.held[CUSTOMER] = CachedEntity(entity=_entity(9, at_ms=2), confirmed_at=1000)

    usages = [await process.usage()]
    process.invalidation.changed([Change(CUSTOMER, is_whole=False)])
    usages += [await process.usage(), await process.usage()]

    assert [(4, "memory"), (9, "redis"), (9, "memory")] == usages
    assert 1 == len(process.house.edge.asked)


async def test_what_this_process_wrote_is_not_read_again(process: Process) -> None:
    process.follows()
    await process.usage()
    reads = process.shared.reads
    process.own.begun(CUSTOMER)
    process.own.ended(CUSTOMER, has_changed=True)

    process.invalidation.changed([Change(CUSTOMER, is_whole=True)])

    assert (4, "memory") == await process.usage()
    assert reads == process.shared.reads


async def test_what_is_not_held_is_of_no_interest(process: Process) -> None:
    await process.usage()
    own = EntityKey("own")
    process.own.begun(own)
    await process.house.store.store(RESOURCE, CachedEntity(entity=_entity(1), confirmed_at=1000))
    watcher = process.house.changes.watch("watched", None)
    late = UsageUpdate(feature_id="m", current=5, updated_at_ms=2)
    await process.house.feed_applier.apply(UsageChanged(key=EntityKey("late"), update=late))

    wanted = [
        process.invalidation.wants(Change(EntityKey(id_), is_whole=is_whole))
        for id_, is_whole in (("a", False), ("own", False), ("watched", False), ("late", True))
    ]

    assert [True] * 4 == wanted
    assert not process.invalidation.wants(Change(OTHER, is_whole=True))
    process.house.store._memory.drop(CUSTOMER)
    resources = [process.invalidation.wants(Change(CUSTOMER, is_whole=whole)) for whole in (True, False)]
    assert [True, False] == resources
    process.house.changes.forget(watcher)


async def test_who_watches_is_told(process: Process) -> None:
    watcher = process.house.changes.watch("a", None)

    process.invalidation.changed([Change(CUSTOMER, is_whole=False)])

    assert await watcher.changed()


async def test_a_customer_that_changed_as_a_whole_takes_its_resources_along(process: Process) -> None:
    """Redis knows that they are outdated by then; a usage alone is none of theirs."""
    process.follows()
    await process.house.store.store(RESOURCE, CachedEntity(entity=_entity(1), confirmed_at=1000))

    process.invalidation.changed([Change(CUSTOMER, is_whole=False)])
    before = process.house.store.get(RESOURCE)
    process.invalidation.changed([Change(CUSTOMER, is_whole=True)])
    after = process.house.store.get(RESOURCE)

    assert before is not None
    assert after is not None
    assert not before.is_named
    assert after.is_named


REMOVED, EVICTED = (Change(CUSTOMER, is_whole=True, with_timestamp=each) for each in (True, False))


async def test_what_was_removed_is_asked_of_the_cloud_first(process: Process) -> None:
    """The cloud said that it does not know, or an official service was told to forget it."""
    process.follows()
    await process.usage()
    process.house.clock.advance(0.1)
    del process.shared.held[CUSTOMER]
    process.house.edge.answer = _entity(7, at_ms=2)

    process.invalidation.changed([REMOVED])

    assert (7, "edge") == await process.usage()


@pytest.mark.parametrize(
    ("changes", "may_evict", "source"),
    [
        ([EVICTED], True, "memory"),
        ([EVICTED], False, "edge"),
        ([REMOVED, EVICTED], True, "edge"),
        ([EVICTED, REMOVED], True, "edge"),
    ],
    ids=["evicted", "removed where nothing is evicted", "written and evicted", "evicted and removed"],
)
async def test_what_redis_gave_up_is_no_news(
    process: Process, changes: list[Change], may_evict: bool, source: str
) -> None:
    """What was written before it was given up is."""
    process.follows()
    await process.usage()
    process.house.clock.advance(0.1)
    del process.shared.held[CUSTOMER]
    process.invalidation._may_evict = lambda: may_evict

    process.invalidation.changed(changes)

    assert (4, source) == await process.usage()


async def test_what_redis_gave_up_is_checked_again_by_its_age_behind_an_answer(process: Process) -> None:
    process.follows()
    await process.usage()
    del process.shared.held[CUSTOMER]
    process.invalidation.changed([EVICTED])
    process.house.clock.advance(61)
    process.follows()
    process.house.edge.answer = _entity(7, at_ms=2)

    usages = [await process.usage()]
    await eventually(lambda: len(process.house.edge.asked) == 2)
    await eventually(lambda: not process.house.fetcher.under_way)
    usages.append(await process.usage())

    assert [(4, "memory"), (7, "memory")] == usages


async def test_who_leads_knows_why_something_is_not_in_redis(process: Process) -> None:
    """It was evicted there: every change of it arrives by the feed."""
    process.leads()
    await process.usage()
    del process.shared.held[CUSTOMER]

    process.invalidation.changed([Change(CUSTOMER, is_whole=True)])
    await process.usage()

    assert (4, "memory") == await process.usage()
    assert 1 == len(process.house.edge.asked)


@pytest.mark.parametrize("gap", ["emptied", "lost"])
async def test_after_a_gap_redis_is_asked_first(process: Process, gap: str) -> None:
    process.follows()
    await process.usage()
    process.house.clock.advance(1)
    if gap == "emptied":
        process.invalidation.emptied()
    else:
        process.invalidation.tracking_ended()
        process.invalidation.tracking_began()
    process.follows()

    assert (4, "redis") == await process.usage()
    assert (4, "memory") == await process.usage()
    assert 1 == len(process.house.edge.asked)


async def test_who_is_deaf_looks_by_age(process: Process) -> None:
    process.follows()
    await process.usage()
    process.invalidation.tracking_ended()
    process.house.clock.advance(61)
    process.follows()

    assert (4, "redis") == await process.usage()
    assert (4, "memory") == await process.usage()
    assert 1 == len(process.house.edge.asked)


async def test_usage_that_came_while_another_fetched_is_put_into_what_it_wrote(process: Process) -> None:
    """It asked the cloud before the change, which found nothing in Redis to change."""
    process.leads()
    update = UsageUpdate(feature_id="m", current=8, updated_at_ms=3)
    await process.house.feed_applier.apply(UsageChanged(key=CUSTOMER, update=update))

    process.shared.held[CUSTOMER] = CachedEntity(entity=_entity(4), confirmed_at=1000)
    process.invalidation.changed([Change(CUSTOMER, is_whole=True)])
    await _done(process)

    assert _entity(8, at_ms=3).features.keys() == process.shared.held[CUSTOMER].entity.features.keys()
    assert (8, "redis") == await process.usage()


async def test_what_was_removed_while_another_fetched_is_removed_again(process: Process) -> None:
    process.leads()
    await process.house.feed_applier.apply(EntitlementsChanged(key=CUSTOMER, entity=None))

    process.shared.held[CUSTOMER] = CachedEntity(entity=_entity(4), confirmed_at=1000)
    process.invalidation.changed([Change(CUSTOMER, is_whole=True)])
    await _done(process)

    assert CUSTOMER not in process.shared.held


async def test_what_another_process_had_confirmed_is_not_asked_for_again(process: Process) -> None:
    """A fleet that is suspicious of a customer asks the cloud once: Redis names what the first one wrote."""
    process.follows()
    await process.usage()
    clock, revalidator = process.house.clock, process.house.revalidator
    gap = Gap(clock.monotonic() - 600, clock.monotonic())
    revalidator._last_gap = lambda: gap
    revalidator.recheck_suspect(CUSTOMER)
    clock.advance(1)
    process.follows()
    process.shared.held[CUSTOMER] = CachedEntity(
        entity=_entity(9, at_ms=2), confirmed_at=clock.monotonic() - 0.5
    )
    process.invalidation.changed([Change(CUSTOMER, is_whole=True)])

    clock.advance(60)
    process.follows()
    revalidator._arrived.set()
    await eventually(lambda: not revalidator.waiting and len(revalidator._tasks) == 1)

    assert (9, "memory") == await process.usage()
    assert 1 == len(process.house.edge.asked)


def test_who_shares_nothing_knows_of_nothing_before_its_start() -> None:
    assert NO_GAP == FeedTrust(max_unverified_seconds=60, clock=FakeClock()).last_gap


def test_gaps_are_of_the_feed_of_redis_and_before_the_start() -> None:
    """Re-checks are spread out after the last that was long."""
    clock = FakeClock(seconds=0)
    trust = FeedTrust(max_unverified_seconds=60, clock=clock, role=Role.FOLLOWER)
    leader = LeaderState(token="one", epoch=1.0, complete_since=0.0, renewed_at=1e9)
    gaps = [trust.last_gap]

    def after(seconds: float, status: LeaseStatus) -> None:
        clock.advance(seconds)
        trust.move(lambda member, now: member.leased(status, now=now, leader=leader))
        gaps.append(trust.last_gap)

    trust.move(Membership.tracking_began)
    after(1, LeaseStatus.OTHERS)  # it follows from here, as it does for the first time
    after(99, LeaseStatus.UNKNOWN)  # Redis is away
    clock.advance(1)
    trust.move(Membership.followed)  # the feed of its own is there after a second
    after(299, LeaseStatus.OTHERS)  # Redis is back
    clock.advance(100)
    trust.move(Membership.tracking_ended)
    clock.advance(5)
    trust.move(Membership.tracking_began)
    after(0, LeaseStatus.OTHERS)

    start, away, unheard = Gap(NEVER, 0), Gap(100, 400), Gap(500, 505)
    assert [start, start, start, away, unheard] == gaps


async def test_only_who_does_not_lead_reads_a_lease_that_changed(process: Process) -> None:
    process.trust.lease_wanted.clear()
    process.leads()
    process.trust.lease_wanted.clear()
    process.invalidation.lease_changed()
    was_wanted = process.trust.lease_wanted.is_set()
    process.follows()
    process.invalidation.lease_changed()

    assert not was_wanted
    assert process.trust.lease_wanted.is_set()


async def test_a_write_that_redis_did_not_take_is_told_to_those_who_follow(process: Process) -> None:
    process.leads()
    dropped = 0
    trust = FeedTrust(max_unverified_seconds=60, clock=process.house.clock, dropped_writes=lambda: dropped)
    trust.move(lambda member, now: member.leased(LeaseStatus.OURS, now=now, held_until=now + 6))
    trust.move(Membership.followed)
    before = trust.membership.epoch
    process.house.clock.advance(1)
    trust.lease_wanted.clear()
    dropped = 1

    assert before != trust.membership.epoch
    assert trust.lease_wanted.is_set()


async def _done(process: Process) -> None:
    """Returns once nothing is to be done any more."""
    for task in list(process.background._tasks):
        await task
