"""Who follows the feed among the processes of one Redis prefix: what is done with what the lease says."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from entitlements import feed_group
from entitlements.background import Background
from entitlements.domain.membership import LeaderState, LeaseStatus, Membership, Role
from entitlements.feed_group import FeedGroup, FeedTask
from entitlements.redis.lease import LEASE_SECONDS, LeaseReading
from entitlements.service.change_notifier import ChangeNotifier
from entitlements.service.feed_trust import FeedTrust
from tests.fakes import FakeClock


class ScriptedFeedApplier:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def lost(self) -> None:
        self.told.append("lost")


@pytest.fixture
def feed_applier() -> ScriptedFeedApplier:
    return ScriptedFeedApplier()


class ReluctantFeed:
    """Does not end when it is cancelled, but when it is let go."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.let_go = asyncio.Event()
        self.ended = asyncio.Event()

    async def run(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await self.let_go.wait()
            self.ended.set()


def a_sidecar(feed: ReluctantFeed, feed_applier: ScriptedFeedApplier) -> SimpleNamespace:
    background = Background(FakeClock().monotonic)
    return SimpleNamespace(open_feed=lambda _: feed, feed_applier=feed_applier, background=background)


async def test_a_feed_that_does_not_close_is_not_relied_on(
    feed_applier: ScriptedFeedApplier, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it closes nobody reads what it tells: what is cached must not pass for fresh meanwhile."""
    monkeypatch.setattr(feed_group, "CLOSING_SECONDS", 0.05)
    feed = ReluctantFeed()
    sidecar = a_sidecar(feed, feed_applier)
    task = FeedTask(sidecar, listener=SimpleNamespace())  # type: ignore[arg-type]
    task.start()
    await feed.began.wait()

    stopping = asyncio.create_task(task.stop())
    await asyncio.sleep(0)
    told_at_once = list(feed_applier.told)
    await stopping
    feed.let_go.set()
    await feed.ended.wait()

    assert ["lost"] == told_at_once
    assert "did not close in time" in caplog.text


async def test_a_feed_that_was_stopped_can_be_started_again(feed_applier: ScriptedFeedApplier) -> None:
    feed = ReluctantFeed()
    feed.let_go.set()
    task = FeedTask(a_sidecar(feed, feed_applier), SimpleNamespace())  # type: ignore[arg-type]
    await task.stop()
    for _ in range(2):
        task.start()
        await feed.began.wait()
        await task.stop()
        await feed.ended.wait()
        feed.began.clear()
        feed.ended.clear()

    assert {"lost"} == set(feed_applier.told)


class ScriptedLease:
    """Answers what it is told to, and notes what was said to it."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.status = LeaseStatus.OURS
        self.held_until = float("-inf")
        self.said: list[float | None] = []
        self.was_asked = asyncio.Event()
        self.is_released = False

    async def ask(self, epoch: float | None) -> LeaseReading:
        self.said.append(epoch)
        self.was_asked.set()
        now = self._clock.monotonic()
        if self.status is not LeaseStatus.OURS:
            leader = LeaderState(token="theirs", epoch=1.0, complete_since=now, renewed_at=now)
            return LeaseReading(status=self.status, leader=leader)
        self.held_until = now + LEASE_SECONDS
        return LeaseReading(status=self.status)

    async def release(self) -> None:
        self.is_released = True


class NotedFeed:
    """Notes when it is opened and closed, and is followed at once."""

    def __init__(self, trust: FeedTrust) -> None:
        self._trust = trust
        self.told: list[str] = []
        self._is_open = False

    def start(self) -> None:
        if not self._is_open:
            self._is_open = True
            self.told.append("opened")
            self._trust.move(Membership.followed)

    async def stop(self) -> None:
        if self._is_open:
            self._is_open = False
            self.told.append("closed")
            self._trust.move(Membership.lost)


class Group:
    """One process of a group, whose time and whose lease a test moves."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.trust = FeedTrust(max_unverified_seconds=60, clock=self.clock, role=Role.FOLLOWER)
        self.lease = ScriptedLease(self.clock)
        self.feed = NotedFeed(self.trust)
        self.background = Background(self.clock.monotonic)
        sidecar = SimpleNamespace(
            feed_trust=self.trust, clock=self.clock, changes=ChangeNotifier(), background=self.background
        )
        redis = SimpleNamespace(lease=self.lease, lease_state=None)
        self.group = FeedGroup(sidecar, redis, self.feed)  # type: ignore[arg-type]

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Returns once it is; the lease is asked for meanwhile, as ever."""
        async with asyncio.timeout(60):
            while not is_so():
                self.trust.lease_wanted.set()
                await asyncio.sleep(0)


@pytest.fixture
async def process() -> Group:
    return Group()


async def test_whoever_has_the_lease_opens_the_feed_and_gives_both_up_in_the_end(process: Group) -> None:
    process.group.start()
    process.group.start()
    await process.until(lambda: process.trust.trust.following)
    await process.group.leave()

    assert ["opened", "closed"] == process.feed.told
    assert process.lease.is_released


async def test_whoever_lost_the_lease_closes_the_feed(process: Group) -> None:
    process.group.start()
    await process.until(lambda: process.trust.trust.following)
    process.lease.status = LeaseStatus.OTHERS
    await process.until(lambda: process.trust.membership.role is Role.FOLLOWER)
    await process.until(lambda: process.feed.told == ["opened", "closed"])
    await process.group.leave()


async def test_a_gap_of_the_leader_is_said_at_once(process: Group) -> None:
    """Those who follow through Redis must not learn of it later than need be."""
    process.group.start()
    await process.until(lambda: process.trust.trust.following)
    process.lease.was_asked.clear()
    process.clock.advance(1)
    process.trust.move(Membership.doubted)
    async with asyncio.timeout(60):
        await process.lease.was_asked.wait()
    assert process.clock.monotonic() == process.lease.said[-1]
    await process.group.leave()


async def test_a_leader_applies_what_its_feed_brings(process: Group) -> None:
    await process.group._ask()

    assert process.clock.monotonic() == await process.group.applicable_at()


async def test_frames_of_a_leader_that_was_stopped_are_not_applied_where_another_leads(
    process: Group,
) -> None:
    """They are older than what the other wrote meanwhile, and it does not believe that it still leads."""
    await process.group._ask()
    process.clock.advance(30)
    process.lease.status = LeaseStatus.OTHERS
    was_leading = process.trust.membership.is_leading(process.clock.monotonic())

    assert await process.group.applicable_at() is None
    assert not was_leading
    assert Role.FOLLOWER == process.trust.membership.role
    assert ["opened", "closed"] == process.feed.told


@pytest.mark.parametrize("status", [LeaseStatus.OURS, LeaseStatus.UNKNOWN])
async def test_the_feed_of_whoever_was_stopped_is_opened_anew(
    process: Group, status: LeaseStatus, caplog: pytest.LogCaptureFixture
) -> None:
    """Another may have led, and left, meanwhile: what waits in the socket may be older than what it wrote."""
    await process.group._ask()
    process.clock.advance(30)
    process.lease.status = status

    applicable_at = await process.group.applicable_at()

    assert process.clock.monotonic() == applicable_at
    assert ["opened", "closed", "opened"] == process.feed.told
    assert "stopped for long" in caplog.text


async def test_what_came_before_the_feed_was_opened_anew_is_not_applied(process: Group) -> None:
    def opened(*_: object) -> None:
        process.feed.told.append("opened, and not yet followed")

    process.feed.start = opened  # type: ignore[method-assign]
    await process.group._ask()

    assert await process.group.applicable_at() is None
    assert 1 == len(process.lease.said)


async def test_a_leader_that_falls_silent_is_told_once(
    process: Group, caplog: pytest.LogCaptureFixture
) -> None:
    process.lease.status = LeaseStatus.OTHERS
    process.trust.move(Membership.tracking_began)
    await process.group._ask()
    was_following = process.trust.trust.following
    asked = process.lease.ask

    async def silent(epoch: float | None) -> LeaseReading:
        reading = await asked(epoch)
        return LeaseReading(status=reading.status, leader=None)

    process.lease.ask = silent  # type: ignore[method-assign]
    for _ in range(2):
        await process.group._ask()

    assert was_following
    assert not process.trust.trust.following
    assert 1 == caplog.text.count("leader is silent")
