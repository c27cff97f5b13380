"""The background worker: owns the feed's task, and applies its changes, one message at a time.

A channel layer loses messages by design: it refuses when full, and forgets what waits too long. Here every
message carries its number, so that a lost one is seen; and the sender waits while too many are under way,
so that none is refused. Behind the channel, Channels' own worker queues without a bound: the same wait
bounds that queue.
"""

import logging
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name

from entitlements.composition import Sidecar, sidecar
from entitlements.feed_group import FeedGroup, FeedTask
from entitlements.frame_channel import FrameChannel
from entitlements.upstream.feed_payloads import event_from_frame

logger = logging.getLogger(__name__)


class EntitlementFeedConsumer(AsyncConsumer):
    """Starts, watches and stops the feed; applies its frames."""

    def __init__(self) -> None:
        super().__init__()
        self._sidecar = sidecar()
        self._frames = FrameChannel(self._sidecar.feed_applier)
        self._feed = FeedTask(self._sidecar, self._frames)
        redis = self._sidecar.redis
        self._group = None if redis is None else FeedGroup(self._sidecar, redis, self._feed)

    async def __call__(self, *asgi: Any) -> None:
        """Runs until the worker stops; the feed ends with it."""
        try:
            await super().__call__(*asgi)  # type: ignore[no-untyped-call]
        finally:
            await self.feed_stop({})

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Has a message handled.

        Channels' own closes old connections to the database before every message, by way of another thread;
        nothing here uses the database.
        """
        await getattr(self, get_handler_name(message))(message)

    async def feed_start(self, _message: dict[str, Any]) -> None:
        """Follows the feed, or takes part in who does; once."""
        if self._group is None:
            self._feed.start()
        else:
            self._group.start()

    async def feed_stop(self, _message: dict[str, Any]) -> None:
        """Closes the feed."""
        if self._group is None:
            await self._feed.stop()
        else:
            await self._group.leave()

    async def feed_frames(self, message: dict[str, Any]) -> None:
        """Applies frames in their order."""
        for number, (subscription, frame) in enumerate(message["frames"], message["number"]):
            self._frames.take(number)
            at = self._sidecar.clock.monotonic() if self._group is None else await self._group.applicable_at()
            if at is not None:
                await apply_frame(self._sidecar, subscription, frame, at=at)


async def apply_frame(sidecar: Sidecar, subscription: str, frame: str, *, at: float) -> None:
    """Brings what is held up to date with one frame of the feed; a defect in that is a gap."""
    try:
        event = event_from_frame(subscription, frame, now_ms=sidecar.clock.now_ms())
        if event is not None:
            await sidecar.feed_applier.apply(event, at=at)
    except Exception:  # an error that left here would end the consumer, and with it the feed, unseen
        logger.exception("an event of the feed could not be applied")
        sidecar.feed_applier.missed("defect")
