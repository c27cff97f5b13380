"""From the socket of the feed to its consumer: numbered, bounded, and counted when lost."""

import asyncio
from collections import deque
from sys import getsizeof

from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer

from entitlements.background import awaited
from entitlements.service.feed_applier import FeedApplier

FEED_CHANNEL = "entitlement-feed"

MAX_FRAMES_UNDER_WAY = 1000
"""How many frames may wait between the socket and the tiers; then the socket is not read."""
MAX_BYTES_UNDER_WAY = 64 * 1024 * 1024
"""How many bytes of them; one frame that is larger waits alone."""
PATIENCE_SECONDS = 5.0
"""A frame waits no longer for room; then it is given up, and counted as a gap."""


class FrameChannel:
    """The feed's listener: numbers the frames and passes them on through the channel layer."""

    def __init__(self, feed_applier: FeedApplier) -> None:
        self._feed_applier = feed_applier
        self._sent = 0
        self._arrived = 0
        self._under_way: deque[tuple[int, int]] = deque()
        """Number and size of each frame that was sent and has not arrived."""
        self._bytes_under_way = 0
        self._batch: list[tuple[str, str]] = []
        """Frames with their subscriptions, not sent yet."""
        self._progress = asyncio.Event()

    async def followed(self) -> None:
        """See FeedListener."""
        self._feed_applier.followed()

    async def lost(self, _cause: str) -> None:
        """See FeedListener."""
        self._feed_applier.lost()

    async def delivered(self, subscription: str, frame: str) -> None:
        """Passes one frame on, or counts a gap when there is no room for it in time."""
        try:
            if self._is_full:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._room()
        except TimeoutError:
            self._feed_applier.missed("overflow")
            return
        self._sent += 1
        self._under_way.append((self._sent, getsizeof(frame)))
        self._bytes_under_way += self._under_way[-1][1]
        self._batch.append((subscription, frame))
        if len(self._batch) == 1:
            awaited(self._send_batch(), name="feed-frames")

    async def _send_batch(self) -> None:
        """Sends what came in one turn of the loop as one message: many frames may come in one packet."""
        batch, self._batch = self._batch, []
        message = {"type": "feed.frames", "number": self._sent - len(batch) + 1, "frames": batch}
        try:
            await get_channel_layer().send(FEED_CHANNEL, message)
        except ChannelFull:
            self._feed_applier.missed("overflow")

    def take(self, number: int) -> None:
        """Notes that a frame arrived at the consumer; the ones before it that did not are a gap."""
        if number > self._arrived + 1:
            self._feed_applier.missed("lost_message")
        self._arrived = max(self._arrived, number)
        while self._under_way and self._under_way[0][0] <= number:
            self._bytes_under_way -= self._under_way.popleft()[1]
        self._progress.set()

    @property
    def _is_full(self) -> bool:
        return (
            self._sent - self._arrived >= MAX_FRAMES_UNDER_WAY or self._bytes_under_way >= MAX_BYTES_UNDER_WAY
        )

    async def _room(self) -> None:
        while self._is_full:
            self._progress.clear()
            await self._progress.wait()
