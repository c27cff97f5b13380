"""Random walks through all that can happen to the cache, each answer held against a simple model."""

import asyncio
from typing import Any

import pytest
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from entitlements.cache.redis import RedisTier
from entitlements.domain.entity import EntityKey
from entitlements.domain.events import EntitlementsChanged, FeedEvent
from entitlements.domain.freshness import EntityState
from entitlements.domain.membership import Membership
from entitlements.redis.keys import KeySpace
from tests.chaos.hostile import SCALE, SEED, tries
from tests.chaos.model import KEYS, TTL_SECONDS, Cloud, Process, finished, floor_of
from tests.fakes import FakeClock
from tests.redis.parts import a_connection
from tests.redis_server import RedisServer

keys = st.sampled_from(KEYS)
places = st.integers(0, 1)


class CacheMachine(RuleBasedStateMachine):
    """Two processes, one Redis, one cloud."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.server.command("FLUSHALL")
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.cloud = Cloud(clock=self.clock)
        self.connection = a_connection(self.server.url)
        shared = RedisTier(
            self.connection, keys=KeySpace(prefix="p"), clock=self.clock, ttl_seconds=TTL_SECONDS
        )
        self.processes = [Process(self.cloud, shared, leads=leads) for leads in (True, False)]
        for process in self.processes:
            finished(self.loop, process.start())

    def teardown(self) -> None:
        for process in self.processes:
            finished(self.loop, process.end())
        self.connection.stop()
        self.loop.close()

    @property
    def leader(self) -> Process:
        return self.processes[0]

    @initialize()
    def begin(self) -> None:
        self.follow()

    @rule()
    @precondition(lambda self: self.leader.followed_since is None)
    def follow(self) -> None:
        """The feed comes up; nothing of before is reported."""
        for process in self.processes:
            process.pending.clear()
        self.leader.lead()
        self.processes[1].follow(self.leader)

    @rule()
    @precondition(lambda self: self.leader.followed_since is not None)
    def lose(self) -> None:
        """The feed goes down; what was on its way is lost."""
        for process in self.processes:
            process.pending.clear()
            process.followed_since, process.lost_at = None, self.clock.seconds
        self.leader.feed_applier.lost()
        self.processes[1].follow(self.leader)

    @rule(key=keys, used=st.booleans())
    def change(self, key: EntityKey, used: bool) -> None:
        """The cloud's truth moves on; the feed sends it to the leader, if it is up."""
        event = self.cloud.change(key, used=1) if used else self.cloud.change(key, number=1)
        if self.leader.followed_since is not None:
            self.leader.pending.append(event)

    @rule(key=keys)
    def take_back(self, key: EntityKey) -> None:
        """The cloud says that it does not know: what is held is dropped."""
        if self.leader.followed_since is not None:
            self.leader.pending.append(EntitlementsChanged(key=key, entity=None))

    @rule(place=places, index=st.integers(0, 20), again=st.booleans())
    def deliver(self, place: int, index: int, again: bool) -> None:
        """One of the changes on their way arrives, in any order, perhaps not for the last time."""
        process = self.processes[place]
        if not process.pending:
            return
        self._send(process, process.pending[index % len(process.pending)], again=again)

    def _send(self, process: Process, event: FeedEvent, *, again: bool) -> None:
        finished(self.loop, process.apply(event))
        finished(self.loop, process.settled())
        if process.leads:
            self.processes[1].pending.append(event)
        if not again:
            process.pending.remove(event)

    @rule(place=places, order=st.permutations(KEYS))
    def read(self, place: int, order: list[EntityKey]) -> None:
        """Somebody asks for each of them, in any order: memory does not hold them all."""
        for key in order:
            self._read(self.processes[place], key)

    @rule(place=places, key=keys, used=st.booleans())
    def miss(self, place: int, key: EntityKey, used: bool) -> None:
        """A change is on its way when the feed is lost, and comes up again or not before somebody asks."""
        self.read(place, [key])
        self.change(key, used)
        if self.leader.followed_since is not None:
            self.lose()
        self.read(place, [key])

    @rule(place=places, key=keys)
    def reorder(self, place: int, key: EntityKey) -> None:
        """The newer of two usages arrives first; sets come in the order of their connection."""
        if self.leader.followed_since is None:
            return
        events = [self.cloud.change(key, used=1) for _ in range(2)]
        self.leader.pending.extend(events)
        for process in self.processes:
            for event in reversed(events):
                self._send(process, event, again=False)
        self.read(place, [key])

    def _read(self, process: Process, key: EntityKey) -> None:
        was_held = process.memory.peek(key) is not None
        version, state = finished(self.loop, process.read(key))
        finished(self.loop, process.settled())

        if version is None:
            assert not was_held, f"{key} was held, and answered by a fallback"
            return
        seen = process.seen.get(key)
        if seen is not None:
            assert version.number >= seen.number, f"{key} fell back from {seen} to {version}"
        if state is EntityState.FRESH:
            others = [] if process.leads else self.leader.pending
            floor = floor_of(self.cloud, key, process, others)
            assert version.number >= floor.number, (
                f"{key} is {version}, called fresh, and cannot be older than {floor}"
            )
            assert version.used >= floor.used, (
                f"{key} is {version}, called fresh, and cannot be older than {floor}"
            )

    @rule(place=places)
    def restart(self, place: int) -> None:
        """A process ends, and another takes its place and follows as the first did."""
        process = self.processes[place]
        follows = process.followed_since is not None
        pending = list(process.pending)
        finished(self.loop, process.end())
        finished(self.loop, process.start())
        if process.leads and follows:  # what the old leader did not apply, nobody will: all begin anew
            self.follow()
            return
        self.processes[1].follow(self.leader)
        if follows:
            process.pending.extend(pending)

    @rule(place=places, key=keys)
    def evict(self, place: int, key: EntityKey) -> None:
        """Memory gives it up."""
        self.processes[place].memory.drop(key)

    @rule()
    def empty_redis(self) -> None:
        """FLUSHALL, which Redis tells."""
        self.server.command("FLUSHALL")
        for process in self.processes:
            process.feed_trust.move(Membership.emptied)

    @rule(is_up=st.booleans())
    def turn_cloud(self, is_up: bool) -> None:
        """The cloud comes and goes."""
        self.cloud.is_up = is_up

    @rule(seconds=st.sampled_from([0.5, 2.0, 30.0, 61.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        """Time passes, for Redis too: its keys live so much shorter."""
        self.clock.advance(seconds)
        self.processes[1].follow(self.leader)  # as it does every second
        for name in self.server.command("KEYS", "*"):
            left_ms = self.server.command("PTTL", name) - round(seconds * 1000)
            self.server.command("PEXPIRE", name, max(1, left_ms))


@pytest.mark.timeout(120 + 600 * SCALE)
def test_the_cache_keeps_its_word() -> None:
    """Newest wins, a gap loses nothing held, fresh means fresh, and nobody learns what another has."""
    bounds: Any = settings(tries(8), stateful_step_count=25)
    with RedisServer() as server:
        machine = type("Machine", (CacheMachine,), {"server": server})
        run_state_machine_as_test(seed(SEED)(machine) if SCALE > 1 else machine, settings=bounds)
