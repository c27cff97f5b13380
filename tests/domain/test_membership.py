"""Who leads, who follows, and what each may rely on: over all orders of lease, feed, Redis and time."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity
from entitlements.domain.freshness import Trust
from entitlements.domain.membership import (
    SILENCE_SECONDS,
    LeaderState,
    LeaseStatus,
    Membership,
    Role,
)

LEASE_SECONDS = 6.0
TRUST = Trust(max_unverified_seconds=60)
LED = LeaderState(token="one", epoch=10, complete_since=50, renewed_at=100)
START = Membership(trust=TRUST, role=Role.FOLLOWER)
FOLLOWER = START.tracking_began(99).leased(LeaseStatus.OTHERS, now=100, leader=LED)
LEADER = START.leased(LeaseStatus.OURS, now=100, held_until=106).followed(100)

ALONE = LEADER.leased(LeaseStatus.OURS, now=103, held_until=106).leased(LeaseStatus.UNKNOWN, now=106)
"""It led, and Redis has not answered since."""


def _at(confirmed_at: float, looked_at: float | None = None) -> CachedEntity:
    return CachedEntity(entity=Entity(), confirmed_at=confirmed_at, looked_at=looked_at)


def test_who_hears_of_a_leader_that_follows_misses_nothing() -> None:
    trust = FOLLOWER.trust

    assert trust.following
    assert trust.through_redis
    assert 100 == trust.since


@pytest.mark.parametrize(
    "later",
    [
        replace(LED, token="two"),
        replace(LED, epoch=11),
    ],
    ids=["another leader", "a gap of the leader"],
)
def test_another_turn_of_a_leader_is_a_gap(later: LeaderState) -> None:
    """What was held is looked at in Redis before it answers."""
    now = 101.0
    member = FOLLOWER.leased(LeaseStatus.OTHERS, now=now, leader=replace(later, renewed_at=now))

    assert member.trust.following
    assert now == member.trust.since
    assert now == member.trust.tracked_since
    assert member.trust.must_look(_at(100, 100), now)


def test_the_same_turn_of_a_leader_is_none() -> None:
    member = FOLLOWER.leased(LeaseStatus.OTHERS, now=101, leader=replace(LED, renewed_at=101))

    assert FOLLOWER.trust is member.trust


@pytest.mark.parametrize(
    "leader",
    [
        replace(LED, epoch=None),
        replace(LED, renewed_at=104 - SILENCE_SECONDS - 0.1),
        None,
    ],
    ids=["misses changes itself", "is silent", "says nothing"],
)
def test_a_leader_that_cannot_be_relied_on_is_not(leader: LeaderState | None) -> None:
    member = FOLLOWER.leased(LeaseStatus.OTHERS, now=104, leader=leader)

    assert not member.trust.following
    assert member.complete_since(104) is None


def test_a_leader_falls_silent_between_two_looks() -> None:
    assert 50 == FOLLOWER.complete_since(100 + SILENCE_SECONDS)
    assert FOLLOWER.complete_since(100.1 + SILENCE_SECONDS) is None


def test_who_is_deaf_follows_nobody_until_it_hears_again() -> None:
    untracked = FOLLOWER.tracking_ended(101)
    tracked = untracked.tracking_began(102)

    assert not untracked.trust.following
    assert tracked.trust.following
    assert 102 == tracked.trust.since
    assert 102 == tracked.trust.tracked_since


def test_a_redis_that_was_emptied_is_a_gap_for_who_follows_through_it() -> None:
    """Who leads knows what changes; what it wrote before is there no more."""
    follower, leader, untracked = (
        FOLLOWER.emptied(101),
        LEADER.emptied(101),
        FOLLOWER.tracking_ended(101).emptied(102),
    )

    assert 101 == follower.trust.since
    assert follower.trust.following
    assert 100 == leader.trust.since
    assert 101 == leader.complete_since(102)
    assert not untracked.trust.following


def test_a_leader_vouches_for_what_was_confirmed_since_all_is_written() -> None:
    assert 105 == LEADER.vouch(100, 105)
    assert 99 == LEADER.vouch(99, 105)


def test_a_write_that_redis_did_not_take_ends_the_vouching_for_what_was_before() -> None:
    member = LEADER.write_dropped(103)

    assert 104 == member.vouch(103, 104)
    assert 102 == member.vouch(102, 104)
    assert 103 == member.epoch


def test_who_stands_alone_vouches_for_nothing() -> None:
    member = START.leased(LeaseStatus.UNKNOWN, now=100).followed(100)

    assert Role.STANDALONE == member.role
    assert 100 == member.vouch(100, 105)


def test_losing_redis_while_leading_is_no_gap() -> None:
    """The feed goes on: what is in memory stays fresh."""
    assert Role.STANDALONE == ALONE.role
    assert LEADER.trust == ALONE.trust


def test_what_redis_missed_while_it_was_away_is_not_vouched_for() -> None:
    member = ALONE.leased(LeaseStatus.OURS, now=109, held_until=115)

    assert 109 == member.complete_since(110)
    assert 100 == member.trust.since


@pytest.mark.parametrize("before", [LEADER, ALONE])
def test_giving_the_feed_up_is_a_gap(before: Membership) -> None:
    member = before.leased(LeaseStatus.OTHERS, now=107, leader=replace(LED, renewed_at=107))

    assert not member.trust.following
    assert 107 == member.trust.since
    assert member.trust.through_redis


def test_what_a_feed_brings_is_applied_by_who_follows_it_without_a_break() -> None:
    """Frames that waited in the socket while a process was stopped are older than what others wrote."""
    alone = START.leased(LeaseStatus.UNKNOWN, now=100)
    slept = LEADER.leased(LeaseStatus.OURS, now=130, held_until=136)

    assert [True, False] == [LEADER.may_apply(now) for now in (105, 106)]
    assert [True, False] == [alone.followed(100).may_apply(now) for now in (105, 106)]
    assert [False, True] == [member.may_apply(131) for member in (slept, slept.followed(131))]
    assert not alone.may_apply(100)
    assert not FOLLOWER.may_apply(100)


def test_what_a_feed_that_lags_brings_is_applied() -> None:
    """It is not relied on, and yet newer than what is held."""
    assert LEADER.lost(101).may_apply(102)


def test_a_lease_that_was_taken_anew_is_a_gap() -> None:
    """This process was stopped: another may have led meanwhile."""
    member = LEADER.leased(LeaseStatus.OURS, now=130, held_until=136)

    assert Role.LEADER == member.role
    assert not member.trust.following
    assert 130 == member.trust.since
    assert member.complete_since(131) is None


def test_its_own_feed_says_nothing_to_who_follows_through_redis() -> None:
    assert FOLLOWER == FOLLOWER.lost(101)
    assert FOLLOWER == FOLLOWER.followed(101)


def test_what_a_process_missed_itself_it_doubts() -> None:
    assert 101 == FOLLOWER.doubted(101).trust.since


@dataclass
class World:
    """Some processes, one lease, one time; a process that is stopped notices nothing."""

    now: float = 1000.0
    holder: int | None = None
    expires_at: float = 0.0
    turn: int = 0
    is_up: bool = True
    members: list[Membership] = field(default_factory=lambda: [START] * 3)
    held_until: list[float] = field(default_factory=lambda: [float("-inf")] * 3)
    tokens: list[str] = field(default_factory=lambda: [""] * 3)

    def ask(self, index: int, slow_seconds: float) -> None:
        """As `Lease.ask`: the answer may be long on its way."""
        asked_at = self.now
        if self.holder is not None and self.now >= self.expires_at:
            self.holder = None
        if not self.is_up:
            status = LeaseStatus.OURS if self.now < self.held_until[index] else LeaseStatus.UNKNOWN
        elif self.holder in {None, index}:
            if self.holder is None or not self.tokens[index]:
                self.turn += 1
                self.tokens[index] = self.tokens[index] or f"turn {self.turn}"
            self.holder, self.expires_at = index, self.now + LEASE_SECONDS
            status, self.held_until[index] = LeaseStatus.OURS, asked_at + LEASE_SECONDS
        else:
            status, self.held_until[index], self.tokens[index] = LeaseStatus.OTHERS, float("-inf"), ""
        leader = self._leader() if status is LeaseStatus.OTHERS else None
        self.now += slow_seconds
        before = self.members[index]
        self.members[index] = before.leased(
            status, now=self.now, held_until=self.held_until[index], leader=leader
        )

    def _leader(self) -> LeaderState:
        assert self.holder is not None
        epoch = self.members[self.holder].epoch
        return LeaderState(
            token=self.tokens[self.holder],
            epoch=epoch,
            complete_since=epoch,
            renewed_at=self.expires_at - LEASE_SECONDS,
        )


OTHER_STEPS = (
    "redis",
    "followed",
    "lost",
    "doubted",
    "tracking_began",
    "tracking_ended",
    "emptied",
    "dropped",
)
steps = st.lists(
    st.tuples(
        st.one_of(st.just("ask"), st.just("wait"), st.sampled_from(OTHER_STEPS)),
        st.integers(0, 2),
        st.sampled_from([0.0, 0.5, 4.0, 7.0, 30.0]),
    ),
    min_size=5,
    max_size=40,
)


@given(steps)
def test_at_most_one_leads_whatever_happens(taken: list[tuple[str, int, float]]) -> None:
    """And nobody relies on what it held before a gap, or vouches for more than whoever leads wrote."""
    world = World()
    for step, index, seconds in taken:
        before = world.members[index]
        _take(world, step, index, seconds)
        leading = [each for each in world.members if each.is_leading(world.now)]
        assert len(leading) <= 1
        after = world.members[index]
        _assert_sound(after, world.now)
        if before.trust.following and after.trust.following and after.trust.through_redis:
            assert after.is_tracking
            assert before.trust.through_redis or after.trust.since > before.trust.since


def _take(world: World, step: str, index: int, seconds: float) -> None:
    member = world.members[index]
    match step:
        case "ask":
            world.ask(index, min(seconds, 1.0))
        case "wait":
            world.now += seconds
        case "redis":
            world.is_up = not world.is_up
        case "dropped":
            world.members[index] = member.write_dropped(world.now)
        case _:
            world.members[index] = getattr(member, step)(world.now)


def _assert_sound(member: Membership, now: float) -> None:
    since = member.complete_since(now)
    if member.role is Role.STANDALONE:
        assert since is None
    if member.is_leading(now) and since is not None:
        assert member.trust.following
        assert since >= member.trust.since
    if member.role is Role.FOLLOWER and member.trust.following:
        assert member.is_tracking
        assert member.leader is not None
    assert member.trust.since <= now
    assert member.trust.tracked_since <= now
