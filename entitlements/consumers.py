"""The background worker: owns the feed's task, and applies what the feed tells, one message at a time.

A channel layer loses messages by design: it refuses when full, and forgets what waits too long. Here every
message carries its number, so that a lost one is seen; and the sender waits while too many are under way,
so that none is refused. Behind the channel, Channels' own worker queues without a bound: the same wait
bounds that queue.
"""

import asyncio
import logging
from typing import Any

from channels.consumer import AsyncConsumer
from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer

from entitlements.composition import sidecar
from entitlements.service.following import Following
from entitlements.upstream.feed_payloads import event_from_frame

logger = logging.getLogger(__name__)

FEED_CHANNEL = "entitlement-feed"
MAX_FRAMES_UNDER_WAY = 1000
"""So many frames may wait between the socket and the tiers; then the socket is not read."""
PATIENCE_SECONDS = 5.0
"""A frame waits no longer for room; then it is given up, and counted as a gap."""
RESTART_SECONDS = 1.0
"""A feed that ended by a defect is started again after this."""


class FrameChannel:
    """The feed's listener: numbers the frames and passes them on through the channel layer."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._sent = 0
        self._arrived = 0
        self._progress = asyncio.Event()

    async def followed(self) -> None:
        """See FeedListener."""
        self._following.followed()

    async def lost(self, _cause: str) -> None:
        """See FeedListener."""
        self._following.lost()

    async def delivered(self, subscription: str, frame: str) -> None:
        """Passes one frame on, or counts a gap when there is no room for it in time."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._room()
            self._sent += 1
            message = {
                "type": "feed.frame",
                "number": self._sent,
                "subscription": subscription,
                "frame": frame,
            }
            await get_channel_layer().send(FEED_CHANNEL, message)
        except (TimeoutError, ChannelFull):
            self._following.missed("overflow")

    def take(self, number: int) -> None:
        """Notes that a frame arrived at the consumer; the ones before it that did not are a gap."""
        if number > self._arrived + 1:
            self._following.missed("lost_message")
        self._arrived = max(self._arrived, number)
        self._progress.set()

    async def _room(self) -> None:
        while self._sent - self._arrived >= MAX_FRAMES_UNDER_WAY:
            self._progress.clear()
            await self._progress.wait()


class EntitlementFeedConsumer(AsyncConsumer):
    """Starts, watches and stops the feed; applies its frames."""

    def __init__(self) -> None:
        super().__init__()
        self._sidecar = sidecar()
        self._frames = FrameChannel(self._sidecar.following)
        self._feed = self._sidecar.open_feed(self._frames)
        self._feed_task: asyncio.Task[None] | None = None

    async def __call__(self, *asgi: Any) -> None:
        """Runs until the worker stops; the feed ends with it."""
        try:
            await super().__call__(*asgi)  # type: ignore[no-untyped-call]
        finally:
            await self.feed_stop({})

    async def feed_start(self, _message: dict[str, Any]) -> None:
        """Opens the feed, once."""
        if self._feed_task is None:
            self._feed_task = asyncio.create_task(self._keep_feed(), name="feed")

    async def feed_stop(self, _message: dict[str, Any]) -> None:
        """Closes the feed."""
        if self._feed_task is not None:
            self._feed_task.cancel()
            await asyncio.gather(self._feed_task, return_exceptions=True)
            self._feed_task = None

    async def feed_frame(self, message: dict[str, Any]) -> None:
        """Applies one frame."""
        self._frames.take(message["number"])
        try:
            event = event_from_frame(
                message["subscription"], message["frame"], now_ms=self._sidecar.clock.now_ms()
            )
            if event is not None:
                await self._sidecar.following.apply(event)
        except Exception:  # an error that left here would end the consumer, and with it the feed, unseen
            logger.exception("an event of the feed could not be applied")
            self._sidecar.following.missed("defect")

    async def _keep_feed(self) -> None:
        while True:
            try:
                await self._feed.run()
            except Exception:  # the feed must not end while the process lives
                logger.exception("the feed ended unexpectedly and is started again")
            self._sidecar.following.lost()
            await asyncio.sleep(RESTART_SECONDS)
