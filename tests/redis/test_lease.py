"""Who follows the feed: one at a time, and soon another when it dies."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from entitlements.domain.membership import LeaderState, LeaseStatus
from entitlements.redis.connection import RedisConnection
from entitlements.redis.lease import LEASE_SECONDS, RENEW_SECONDS, Lease, LeaseState
from tests.cache.samples import NOW_MS
from tests.redis.parts import KEYS, ShiftedClock, a_connection
from tests.redis_server import RedisServer

MakeLease = Callable[[str], Lease]
A_TICK = 0.005
"""Redis tells its time in milliseconds."""


@pytest.fixture
def process(own_redis: RedisServer, clock: ShiftedClock) -> Iterator[MakeLease]:
    """Makes the lease of one more process."""
    connections = []

    def make(holder: str) -> Lease:
        connections.append(a_connection(own_redis.url, clock=clock))
        return Lease(connections[-1], name=KEYS.feed_lease, holder=holder, clock=clock)

    yield make
    for connection in connections:
        connection.stop()


def expire(redis: RedisServer) -> None:
    """The lease's time is over, as Redis sees it."""
    redis.command("DEL", KEYS.feed_lease)


async def test_the_first_one_holds_it(process: MakeLease) -> None:
    one, other = process("one"), process("other")

    holds = [await one.try_hold(), await other.try_hold()]

    assert [LeaseStatus.OURS, LeaseStatus.OTHERS] == holds
    assert one.is_held
    assert not other.is_held


async def test_the_holder_keeps_it_by_asking(own_redis: RedisServer, process: MakeLease) -> None:
    one, other = process("one"), process("other")
    await one.try_hold()
    own_redis.command("PEXPIRE", KEYS.feed_lease, 3000)

    holds = [await one.try_hold(), await other.try_hold()]

    assert [LeaseStatus.OURS, LeaseStatus.OTHERS] == holds
    assert own_redis.command("PTTL", KEYS.feed_lease) > 3000


async def test_another_takes_over_within_ten_seconds(own_redis: RedisServer, process: MakeLease) -> None:
    one, other = process("one"), process("other")
    await one.try_hold()
    expire(own_redis)

    holds = [await other.try_hold(), await one.try_hold()]

    assert [LeaseStatus.OURS, LeaseStatus.OTHERS] == holds
    assert LEASE_SECONDS + RENEW_SECONDS < 10


async def test_a_holder_that_did_not_ask_for_long_knows_that_it_lost_it(
    process: MakeLease, clock: ShiftedClock
) -> None:
    """A process that was stopped must not go on writing beside the one that took over."""
    lease = process("one")
    await lease.try_hold()

    clock.shift_seconds += LEASE_SECONDS

    assert not lease.is_held


async def test_a_holder_that_finds_it_another_s_does_not_count_on_its_own_time_any_more(
    own_redis: RedisServer, process: MakeLease
) -> None:
    """By its own clock the lease would last for seconds more, in which two would write."""
    one, other = process("one"), process("other")
    await one.try_hold()
    expire(own_redis)
    await other.try_hold()

    await one.try_hold()

    assert not one.is_held


async def test_it_counts_from_before_it_was_asked_for(
    process: MakeLease, clock: ShiftedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is long on its way was given when Redis began to count, not when it arrives."""
    lease = process("one")
    asked = RedisConnection.run

    async def late(*given: Any, **named: Any) -> Any:
        answer = await asked(*given, **named)
        clock.shift_seconds += LEASE_SECONDS
        return answer

    monkeypatch.setattr(RedisConnection, "run", late)
    status = await lease.try_hold()

    assert LeaseStatus.OURS is status
    assert not lease.is_held


async def test_a_holder_keeps_it_through_a_short_outage_and_not_a_long_one(
    own_redis: RedisServer, process: MakeLease, clock: ShiftedClock
) -> None:
    lease = process("one")
    await lease.try_hold()
    own_redis.stop()

    soon = await lease.try_hold()
    clock.shift_seconds += LEASE_SECONDS
    late = await lease.try_hold()

    assert LeaseStatus.OURS == soon
    assert LeaseStatus.UNKNOWN == late


async def test_a_lease_that_was_given_back_is_free(process: MakeLease) -> None:
    one, other = process("one"), process("other")
    await one.try_hold()

    await one.release()

    assert not one.is_held
    assert await other.try_hold() is LeaseStatus.OURS


async def test_only_the_holder_can_give_it_back(process: MakeLease) -> None:
    one, other = process("one"), process("other")
    await one.try_hold()

    await other.release()

    assert await other.try_hold() is LeaseStatus.OTHERS


async def test_it_shows_people_who_holds_it_and_since_when(
    process: MakeLease, clock: ShiftedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = process("host-1/17"), process("other")
    await one.try_hold()
    monkeypatch.setattr(clock, "now_ms", lambda: NOW_MS + 1500)
    ours, others = await one.ask(), await other.ask()

    expected = LeaseState(holder="host-1/17", age_seconds=1.5)
    assert expected == ours.state
    assert expected == others.state


@pytest.mark.parametrize("junk", ["junk", "{}", "[]", '{"holder": 5}', '{"holder": "x", "token": 5}'])
async def test_junk_in_its_place_is_another_holder_without_a_name(
    own_redis: RedisServer, process: MakeLease, junk: str
) -> None:
    own_redis.command("SET", KEYS.feed_lease, junk, "EX", 600)
    lease = process("one")

    reading = await lease.ask()

    assert LeaseStatus.OTHERS is reading.status
    assert reading.leader is None
    assert reading.state is None


async def test_without_redis_nobody_is_known_to_hold_it(own_redis: RedisServer, process: MakeLease) -> None:
    lease = process("one")
    own_redis.stop()

    reading = await lease.ask()

    assert LeaseStatus.UNKNOWN == reading.status
    assert reading.leader is None
    assert reading.state is None


async def _leader(lease: Lease) -> LeaderState:
    leader = (await lease.ask()).leader
    assert leader is not None
    return leader


async def test_it_tells_those_who_follow_since_when_every_change_is_in_redis(
    process: MakeLease, clock: ShiftedClock
) -> None:
    """By their own clocks: no two processes have the same."""
    one, other = process("one"), process("other")
    began_at = clock.monotonic()
    epoch = began_at - 300
    await one.ask(epoch)

    leader = await _leader(other)
    ended_at = clock.monotonic()

    assert epoch == leader.epoch
    assert leader.complete_since == pytest.approx(epoch, abs=ended_at - began_at)
    assert began_at - A_TICK <= leader.renewed_at <= ended_at + A_TICK


async def test_a_holder_that_misses_changes_says_so(process: MakeLease) -> None:
    one, other = process("one"), process("other")
    await one.ask(1.0)
    first = await _leader(other)
    await one.ask(None)
    second = await _leader(other)

    assert 1.0 == first.epoch
    assert second.epoch is None
    assert second.complete_since is None
    assert first.token == second.token


async def test_each_turn_as_the_holder_has_its_own_token(process: MakeLease) -> None:
    one, other = process("one"), process("other")
    await one.ask()
    first = await _leader(other)
    await one.release()
    await one.ask()

    assert first.token != (await _leader(other)).token


async def test_a_holder_that_does_not_renew_it_is_known_for_that(
    own_redis: RedisServer, process: MakeLease, clock: ShiftedClock
) -> None:
    one, other = process("one"), process("other")
    await one.ask()
    began_at = clock.monotonic()
    own_redis.command("PEXPIRE", KEYS.feed_lease, 2000)

    leader = await _leader(other)
    ended_at = clock.monotonic()

    ago_seconds = LEASE_SECONDS - 2
    assert began_at - A_TICK <= leader.renewed_at + ago_seconds <= ended_at + A_TICK
