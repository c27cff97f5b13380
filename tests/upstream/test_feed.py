"""The feed's socket: what the listener is told, in every weather."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from emulator.server import Emulator
from entitlements.clock import SystemClock
from entitlements.upstream.feed import Feed, FeedPhase, FeedTimings, jittered_backoff
from entitlements.upstream.feed_protocol import Problem
from tests.cloud_states import boolean_state

QUICK = FeedTimings(
    ping_seconds=0.1,
    idle_seconds=0.5,
    handshake_seconds=0.5,
    resubscribe_seconds=0.05,
    first_backoff_seconds=0.05,
    longest_backoff_seconds=0.1,
    first_slow_backoff_seconds=0.1,
    longest_slow_backoff_seconds=0.2,
)


class Listener:
    """Remembers what it was told, and can be waited for."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.frames: list[tuple[str, str]] = []
        self._news = asyncio.Condition()

    async def followed(self) -> None:
        await self._note("followed")

    async def lost(self, cause: str) -> None:
        await self._note(f"lost:{cause}")

    async def delivered(self, subscription: str, frame: str) -> None:
        self.frames.append((subscription, frame))
        await self._note("frame")

    async def until(self, word: str, count: int = 1) -> None:
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: self.told.count(word) >= count)

    async def _note(self, word: str) -> None:
        async with self._news:
            self.told.append(word)
            self._news.notify_all()


@pytest.fixture
def listener() -> Listener:
    return Listener()


def a_feed(emulator: Emulator, listener: Listener, **timings: Any) -> Feed:
    return Feed(
        url=emulator.ws_url,
        headers={"X-API-KEY": emulator.api_key, "User-Agent": "tests"},
        listener=listener,
        clock=SystemClock(),
        random=Random(1),
        timings=FeedTimings(**timings) if timings else QUICK,
    )


@pytest.fixture
async def feed(emulator: Emulator, listener: Listener) -> AsyncIterator[Feed]:
    """A feed that runs."""
    feed = a_feed(emulator, listener)
    task = asyncio.create_task(feed.run())
    yield feed
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _until_phase(feed: Feed, problem: Problem | None) -> None:
    async with asyncio.timeout(10):
        while feed.state.problem is not problem:  # noqa: ASYNC110 - the state is replaced in silence
            await asyncio.sleep(0.01)


async def test_a_change_is_delivered(emulator: Emulator, feed: Feed, listener: Listener) -> None:
    await listener.until("followed")

    emulator.state.put("c", boolean_state())
    await listener.until("frame")

    assert "entitlementsUpdatedV2" == listener.frames[0][0]
    assert '"c"' in listener.frames[0][1]
    assert FeedPhase.FOLLOWING is feed.state.phase
    assert feed.state.last_event_ms is not None


async def test_a_dropped_socket_is_told_and_healed(
    emulator: Emulator, feed: Feed, listener: Listener
) -> None:
    await listener.until("followed")

    emulator.feed.drop()
    await listener.until("followed", 2)

    assert ["followed", "lost:lost", "followed"] == listener.told
    assert feed.state.problem is None


async def test_a_silent_connection_is_noticed(emulator: Emulator, feed: Feed, listener: Listener) -> None:
    """contract/better.md: a silent connection is never noticed; here the idle time-out cuts it."""
    await listener.until("followed")

    emulator.feed.silence()
    await listener.until("lost:lost")
    await listener.until("followed", 2)

    assert FeedPhase.FOLLOWING is feed.state.phase


async def test_one_subscription_in_error_is_retried_and_the_others_go_on(
    emulator: Emulator, feed: Feed, listener: Listener
) -> None:
    """contract/better.md: an `error` for one subscription must not drop the socket."""
    emulator.faults.set("ws", "error", operation="usageUpdatedV2", times=2)

    await listener.until("followed")

    assert FeedPhase.FOLLOWING is feed.state.phase
    assert 1 == emulator.counters.total("ws:connection")


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("bad_key", Problem.KEY_REFUSED),
        ("throttled", Problem.THROTTLED),
        ("no_ack", Problem.LOST),
        ("silent", Problem.LOST),
        ("garbage", Problem.LOST),
        ("hang", Problem.LOST),
        ("down", Problem.LOST),
    ],
)
async def test_a_connection_that_does_not_come_about_is_named_and_healed(
    emulator: Emulator, listener: Listener, fault: str, problem: Problem
) -> None:
    emulator.faults.set("ws", fault)
    feed = a_feed(emulator, listener)
    task = asyncio.create_task(feed.run())

    await _until_phase(feed, problem)
    assert [] == listener.told
    emulator.faults.clear()
    await listener.until("followed")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert FeedPhase.STOPPED is feed.state.phase


async def test_a_refused_key_is_tried_slowly(emulator: Emulator, listener: Listener) -> None:
    """contract/better.md: a bad key must not reconnect for ever at full speed."""
    emulator.faults.set("ws", "bad_key")
    feed = a_feed(emulator, listener, first_backoff_seconds=0.01, first_slow_backoff_seconds=60.0)
    task = asyncio.create_task(feed.run())

    await _until_phase(feed, Problem.KEY_REFUSED)
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert 1 == emulator.counters.total("ws:connection")


async def test_a_refused_upgrade_is_named(emulator: Emulator, feed: Feed) -> None:
    emulator.faults.set("ws", "status", status=429)
    emulator.feed.drop()

    await _until_phase(feed, Problem.THROTTLED)


def test_back_off_doubles_up_to_its_ceiling_and_is_jittered() -> None:
    random = Random(1)
    waits = [jittered_backoff(n, first=1.0, longest=30.0, random=random) for n in (0, 1, 2, 5, 1000)]

    for wait, full in zip(waits, [1, 2, 4, 30, 30], strict=True):
        assert full / 2 <= wait <= full
    assert len({jittered_backoff(0, first=1.0, longest=30.0, random=random) for _ in range(20)}) > 10
