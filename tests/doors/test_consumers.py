"""The way of a frame from the socket to the tiers: numbered, bounded, and never lost in silence."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from channels.layers import get_channel_layer

from emulator.server import Emulator
from entitlements import consumers, frame_channel
from entitlements.background import Background
from entitlements.consumers import FeedGroup, FeedTask
from entitlements.domain.freshness import Trust
from entitlements.frame_channel import FEED_CHANNEL, MAX_FRAMES_UNDER_WAY, FrameChannel
from entitlements.redis.address import RedisAddress, channel_layer_settings
from tests.fakes import FakeClock
from tests.harness import environment_for, spawned
from tests.redis_server import RedisServer


class ScriptedFeedApplier:
    """Notes what is called."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.trust = Trust(max_unverified_seconds=60)

    def followed(self) -> None:
        self.calls.append("followed")

    def lost(self) -> None:
        self.calls.append("lost")

    def missed(self, cause: str) -> None:
        self.calls.append(cause)


@pytest.fixture
def feed_applier() -> ScriptedFeedApplier:
    return ScriptedFeedApplier()


@pytest.fixture
def states() -> list[str]:
    return []


@pytest.fixture
async def frames(feed_applier: ScriptedFeedApplier, states: list[str]) -> FrameChannel:
    async def publish_state() -> None:
        states.append("announced")

    await get_channel_layer().flush()
    return FrameChannel(feed_applier, publish_state=publish_state)  # type: ignore[arg-type]


async def test_frames_arrive_in_order_with_their_numbers(frames: FrameChannel) -> None:
    """Those that came in one turn of the loop as one message."""
    for turn in ("ab", "c"):
        for text in turn:
            await frames.delivered("usageUpdatedV2", text)
        await asyncio.sleep(0)

    received = [await get_channel_layer().receive(FEED_CHANNEL) for _ in range(2)]

    assert [(1, ["a", "b"]), (3, ["c"])] == [
        (message["number"], [frame for _, frame in message["frames"]]) for message in received
    ]


async def test_a_channel_without_room_is_a_gap(
    frames: FrameChannel, feed_applier: ScriptedFeedApplier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message for each turn, and nobody takes one."""
    monkeypatch.setattr(get_channel_layer(), "get_capacity", lambda _: 3)
    for _ in range(3):
        await frames.delivered("usageUpdatedV2", "x")
        await asyncio.sleep(0)
    before = list(feed_applier.calls)

    await frames.delivered("usageUpdatedV2", "one too many")
    await asyncio.sleep(0)

    assert [] == before
    assert ["overflow"] == feed_applier.calls


async def test_a_number_that_is_left_out_is_a_gap(
    frames: FrameChannel, feed_applier: ScriptedFeedApplier
) -> None:
    """A channel layer may lose messages: it says so nowhere."""
    frames.take(1)
    frames.take(3)

    assert ["lost_message"] == feed_applier.calls


async def test_a_full_channel_is_a_gap_and_no_silent_loss(
    frames: FrameChannel, feed_applier: ScriptedFeedApplier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_channel, "PATIENCE_SECONDS", 0.05)
    for _ in range(MAX_FRAMES_UNDER_WAY):
        await frames.delivered("usageUpdatedV2", "x")

    await frames.delivered("usageUpdatedV2", "one too many")

    assert ["overflow"] == feed_applier.calls


async def test_the_socket_waits_for_room(frames: FrameChannel, feed_applier: ScriptedFeedApplier) -> None:
    for _ in range(MAX_FRAMES_UNDER_WAY):
        await frames.delivered("usageUpdatedV2", "x")
    waiting = asyncio.create_task(frames.delivered("usageUpdatedV2", "next"))
    await asyncio.sleep(0)
    assert not waiting.done()

    frames.take(1)
    await waiting

    assert [] == feed_applier.calls


async def test_few_large_frames_fill_it_as_many_small_ones_do(
    frames: FrameChannel, feed_applier: ScriptedFeedApplier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand frames of a megabyte made a gigabyte. One that is larger than the bound waits alone."""
    monkeypatch.setattr(frame_channel, "MAX_BYTES_UNDER_WAY", 3000)
    for _ in range(3):
        await frames.delivered("usageUpdatedV2", "x" * 1000)
    waiting = asyncio.create_task(frames.delivered("usageUpdatedV2", "x" * 10_000))
    await asyncio.sleep(0)
    assert not waiting.done()

    frames.take(1)
    await waiting
    for number in (2, 3, 4):
        frames.take(number)
    await frames.delivered("usageUpdatedV2", "x")

    assert [] == feed_applier.calls


async def test_the_feeds_state_is_passed_on(
    frames: FrameChannel, feed_applier: ScriptedFeedApplier, states: list[str]
) -> None:
    """Other processes must not learn of a gap later than this one."""
    await frames.followed()
    await frames.lost("lost")

    assert ["followed", "lost"] == feed_applier.calls
    assert ["announced", "announced"] == states


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
    """While it closes nobody reads what it sends: what is cached must not pass for fresh meanwhile."""
    monkeypatch.setattr(consumers, "CLOSING_SECONDS", 0.05)
    feed = ReluctantFeed()
    sidecar = a_sidecar(feed, feed_applier)
    task = FeedTask(sidecar, listener=SimpleNamespace())  # type: ignore[arg-type]
    task.start()
    await feed.began.wait()

    stopping = asyncio.create_task(task.stop())
    await asyncio.sleep(0)
    calls_at_once = list(feed_applier.calls)
    await stopping
    feed.let_go.set()
    await feed.ended.wait()

    assert ["lost"] == calls_at_once
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

    assert {"lost"} == set(feed_applier.calls)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def group(settings: Any, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> FeedGroup:
    """A process of one Redis prefix, which would wait for its leader for ever."""
    layer = channel_layer_settings(RedisAddress(host="127.0.0.1", port=redis.port), prefix="p:sidecar:")
    settings.CHANNEL_LAYERS = {**settings.CHANNEL_LAYERS, "shared": layer}
    monkeypatch.setattr(consumers, "SILENCE_SECONDS", 1000)
    connection = SimpleNamespace(resets=0)
    return FeedGroup(SimpleNamespace(), SimpleNamespace(connection=connection), SimpleNamespace())  # type: ignore[arg-type]


@pytest.mark.parametrize("first", range(0, 60, 10))
async def test_a_follower_that_is_stopped_as_it_starts_ends_at_once(group: FeedGroup, first: int) -> None:
    """At whatever step: libraries swallow a cancellation while they dial or subscribe."""
    for turns in range(first, first + 10):
        following = asyncio.create_task(group.receive())
        for _ in range(turns):
            await asyncio.sleep(0.0002)

        following.cancel()
        _, late = await asyncio.wait({following}, timeout=5)
        following.cancel()
        await asyncio.wait({following})

        assert not late, turns


async def test_channels_own_worker_command_runs_the_consumer(emulator: Emulator, tmp_path: Path) -> None:
    """`manage.py runworker` knows the channel, and starts."""
    environment = environment_for(emulator, tmp_path, LOG_LEVEL="debug")
    async with spawned(environment, FEED_CHANNEL, command="runworker") as worker:
        await worker.printed(f"Running worker for channels ['{FEED_CHANNEL}']")
        assert worker.process.returncode is None
