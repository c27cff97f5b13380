"""The way of a frame from the socket to the tiers: numbered, bounded, and never lost in silence."""

import asyncio
from pathlib import Path

import pytest
from channels.layers import get_channel_layer

from emulator.server import Emulator
from entitlements import frame_channel
from entitlements.domain.freshness import Trust
from entitlements.frame_channel import FEED_CHANNEL, MAX_FRAMES_UNDER_WAY, FrameChannel
from tests.harness import environment_for, spawned


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
async def frames(feed_applier: ScriptedFeedApplier) -> FrameChannel:
    await get_channel_layer().flush()
    return FrameChannel(feed_applier)  # type: ignore[arg-type]


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


async def test_the_feeds_state_is_passed_on(frames: FrameChannel, feed_applier: ScriptedFeedApplier) -> None:
    await frames.followed()
    await frames.lost("lost")

    assert ["followed", "lost"] == feed_applier.calls


async def test_channels_own_worker_command_runs_the_consumer(emulator: Emulator, tmp_path: Path) -> None:
    """`manage.py runworker` knows the channel, and starts."""
    environment = environment_for(emulator, tmp_path, LOG_LEVEL="debug")
    async with spawned(environment, FEED_CHANNEL, command="runworker") as worker:
        await worker.printed(f"Running worker for channels ['{FEED_CHANNEL}']")
        assert worker.process.returncode is None
