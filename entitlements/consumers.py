"""The background worker: owns the feed's task, and applies its changes, one message at a time.

A channel layer loses messages by design: it refuses when full, and forgets what waits too long. Here every
message carries its number, so that a lost one is seen; and the sender waits while too many are under way,
so that none is refused. Behind the channel, Channels' own worker queues without a bound: the same wait
bounds that queue.

With Redis, one process follows the feed for all of its prefix and publishes it over a second layer.
"""

import asyncio
import logging
from dataclasses import asdict
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from entitlements import metrics
from entitlements.background import ended, stop_if_cancelled
from entitlements.composition import SharedRedis, Sidecar, sidecar
from entitlements.domain.ports import FeedListener
from entitlements.frame_channel import FrameChannel
from entitlements.redis.lease import RENEW_SECONDS, LeaseStatus
from entitlements.service.sharing import BEAT_SECONDS, SILENCE_SECONDS, FeedMessage, Role, feed_message_from
from entitlements.upstream.feed_payloads import event_from_frame

logger = logging.getLogger(__name__)

SHARED_LAYER = "shared"
"""The channel layer in Redis, among the CHANNEL_LAYERS where REDIS_ENVIRONMENT_PREFIX is set."""
SHARED_GROUP = "feed"
FOLLOWER_TASK = "feed-following"
CLOSING_SECONDS = 3.0
"""The feed has so long to close; a handshake that the cloud does not answer takes 1 s."""
PUBLISH_SECONDS = 0.5
"""Publishing takes no longer; what could not be published the others miss by its number."""

_ROLES = {
    LeaseStatus.OURS: Role.LEADER,
    LeaseStatus.OTHERS: Role.FOLLOWER,
    LeaseStatus.UNKNOWN: Role.STANDALONE,
}


class FeedTask:
    """The feed of this process, as a task that can be started and stopped again and again."""

    def __init__(self, sidecar: Sidecar, listener: FeedListener) -> None:
        self._sidecar = sidecar
        self._feed = sidecar.open_feed(listener)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Opens the feed, once."""
        if self._task is None:
            self._task = self._sidecar.background.keep("feed", self._run, outages=(RedisError, OSError))

    async def stop(self) -> None:
        """Closes the feed, which is not relied on from this moment, however long its closing takes."""
        task, self._task = self._task, None
        if task is None:
            return
        self._sidecar.feed_applier.lost()
        task.cancel()
        _, closing = await asyncio.wait({task}, timeout=CLOSING_SECONDS)
        if closing:
            logger.warning("the feed did not close in time; it is left to itself")

    async def _run(self) -> None:
        try:
            await self._feed.run()
        finally:
            self._sidecar.feed_applier.lost()


class FeedGroup:
    """The processes of one Redis prefix: contends for the lease, publishes as its leader, or follows.

    The story of a leader that stops, by SIGSTOP or a machine that hangs, and wakes up.

    1. Its lease runs out in Redis. Another process takes it, opens the feed and publishes under a new sender.
       Until then the followers receive nothing: after `SILENCE_SECONDS` what they hold is suspect.
    2. The followers receive from another sender. What happened in between is unknown: a gap, once more.
    3. The old leader wakes up, perhaps within a frame. By its own clock the lease is over (`is_held` counts
       from before it last asked), so it publishes nothing, even before it asks Redis again (`_leads`).
    4. It still applies that frame, to Redis as well. No harm: there the newer write wins, whoever writes it.
    5. Its next `contend` finds the lease another's: it stops its feed and is a follower, after a gap.

    In a change that goes well Redis is written first and it is published then: who looks finds it there.
    """

    def __init__(self, sidecar: Sidecar, redis: SharedRedis, feed: FeedTask) -> None:
        self._sidecar = sidecar
        self._redis = redis
        self._feed = feed

    async def contend(self) -> None:
        """Tries to get or keep the lease, for ever; whoever has it opens the feed."""
        while True:
            role = _ROLES[await self._redis.lease.try_hold()]
            await self._take(role)
            self._redis.lease_state = await self._redis.lease.state()
            await asyncio.sleep(RENEW_SECONDS)

    async def beat(self) -> None:
        """Shows the others that the holder lives, or notices that it is silent, for ever."""
        while True:
            await self.publish_state()
            self._sidecar.sharing.lose_silent_leader()
            await asyncio.sleep(BEAT_SECONDS)

    async def receive(self) -> None:
        """Applies what the leader publishes, for as long as it does.

        Raises:
            TimeoutError: nothing arrives any more. A connection may be dead without a sign of it: only
                another subscription shows whether it is the holder who is silent.
            RedisError: Redis did not answer when it was asked to pass messages on.
        """
        layer = get_channel_layer(SHARED_LAYER)
        resets = self._redis.connection.resets
        try:
            channel = await layer.new_channel()
            await layer.group_add(SHARED_GROUP, channel)
            while resets == self._redis.connection.resets:  # else another Redis may stand behind the name
                stop_if_cancelled()
                async with asyncio.timeout(SILENCE_SECONDS):
                    message = await self._received(layer, channel)
                if message is not None and self._sidecar.sharing.receive(message):
                    await apply_frame(
                        self._sidecar, message.subscription or "", message.frame or "", already_shared=True
                    )
        finally:
            await layer.flush()

    async def _received(self, layer: Any, channel: str) -> FeedMessage | None:
        """The next message; None for what is none, which anybody can publish there."""
        try:
            return feed_message_from(await layer.receive(channel))
        except (ValueError, TypeError, KeyError) as error:  # no message of the layer at all
            self._sidecar.background.skip(FOLLOWER_TASK, "a message", type(error).__name__)
            return None

    async def publish_state(self) -> None:
        """Tells the others how the holder is."""
        if self._leads:
            await self._publish(self._sidecar.sharing.heartbeat())

    async def publish_change(self, subscription: str, frame: str) -> None:
        """Tells the others of a change that was applied here, and in Redis."""
        if self._leads:
            await self._publish(self._sidecar.sharing.change(subscription, frame))

    async def leave(self) -> None:
        """Lets another process follow the feed at once."""
        await self._feed.stop()
        await self._redis.lease.release()
        metrics.FEED_LEASE_HELD.set(0)

    @property
    def _leads(self) -> bool:
        return self._sidecar.sharing.role is Role.LEADER and self._redis.lease.is_held

    async def _take(self, role: Role) -> None:
        before = self._sidecar.sharing.role
        if role is not before:
            logger.info("feed role changed role=%s was=%s", role.value, before.value)
        metrics.FEED_LEASE_HELD.set(role is Role.LEADER)
        if role is Role.FOLLOWER:
            await self._feed.stop()
        self._sidecar.sharing.take_role(role)
        if role is not Role.FOLLOWER:
            self._feed.start()

    async def _publish(self, feed_message: FeedMessage) -> None:
        if not self._redis.connection.is_answering:
            return
        message = {"type": "feed.message", **asdict(feed_message)}
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await get_channel_layer(SHARED_LAYER).group_send(SHARED_GROUP, message)
        except (RedisError, OSError):  # TimeoutError is an OSError; the connection says so in the log
            metrics.REDIS_CLIENT_ERRORS.inc()


class EntitlementFeedConsumer(AsyncConsumer):
    """Starts, watches and stops the feed; applies its frames."""

    def __init__(self) -> None:
        super().__init__()
        self._sidecar = sidecar()
        self._frames = FrameChannel(self._sidecar.feed_applier, publish_state=self._publish_state)
        self._feed = FeedTask(self._sidecar, self._frames)
        redis = self._sidecar.redis
        self._group = None if redis is None else FeedGroup(self._sidecar, redis, self._feed)
        self._tasks: list[asyncio.Task[None]] = []

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
        elif not self._tasks:
            self._tasks = [
                self._sidecar.background.keep(name, work, outages=(RedisError, OSError))
                for name, work in (
                    ("feed-lease", self._group.contend),
                    ("feed-beat", self._group.beat),
                    (FOLLOWER_TASK, self._group.receive),
                )
            ]

    async def feed_stop(self, _message: dict[str, Any]) -> None:
        """Closes the feed."""
        await ended(*self._tasks)
        self._tasks = []
        await self._feed.stop()
        if self._group is not None:
            await self._group.leave()

    async def _publish_state(self) -> None:
        if self._group is not None:
            await self._group.publish_state()

    async def feed_frames(self, message: dict[str, Any]) -> None:
        """Applies frames in their order, and publishes each to the other processes."""
        for number, (subscription, frame) in enumerate(message["frames"], message["number"]):
            self._frames.take(number)
            await apply_frame(self._sidecar, subscription, frame)
            if self._group is not None:
                await self._group.publish_change(subscription, frame)


async def apply_frame(
    sidecar: Sidecar, subscription: str, frame: str, *, already_shared: bool = False
) -> None:
    """Brings what is held up to date with one frame of the feed; a defect in that is a gap."""
    try:
        event = event_from_frame(subscription, frame, now_ms=sidecar.clock.now_ms())
        if event is not None:
            await sidecar.feed_applier.apply(event, already_shared=already_shared)
    except Exception:  # an error that left here would end the consumer, and with it the feed, unseen
        logger.exception("an event of the feed could not be applied")
        sidecar.feed_applier.missed("defect")
