"""Who follows the feed among the processes of one Redis prefix, and the feed's task where it is this one."""

import asyncio
import logging

from redis.exceptions import RedisError

from entitlements import metrics
from entitlements.background import ended
from entitlements.composition import SharedRedis, Sidecar
from entitlements.domain.membership import Membership, Role
from entitlements.domain.ports import FeedListener
from entitlements.redis.lease import RENEW_SECONDS, LeaseReading

logger = logging.getLogger(__name__)

LEASE_TASK = "feed-lease"
CLOSING_SECONDS = 3.0
"""The feed has so long to close; a handshake that the cloud does not answer takes 1 s."""


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
    """The processes of one Redis prefix: contends for the lease, and does what `Membership` says.

    The story of a leader that stops, by SIGSTOP or a machine that hangs, and wakes up.

    1. Its lease runs out in Redis. Another process takes it and opens the feed. Its lease has another token,
       so the followers doubt what they hold; before, they did as it was not renewed (`SILENCE_SECONDS`).
    2. The old leader wakes up, perhaps between two steps of applying a frame. What it then sends to Redis is
       as of when the frame arrived (`applicable_at`), and loses against what the other wrote since.
    3. Frames have waited in its socket meanwhile. By its own clock its lease is over, so it asks for it
       before it applies one. It is another's: this process follows, and the frames are not applied.
    4. Or nobody has it, though somebody may have had it: the lease is taken anew, which is a gap, and the
       feed is opened anew as well, since nobody knows what the frames in the old socket are older than.
    """

    def __init__(self, sidecar: Sidecar, redis: SharedRedis, feed: FeedTask) -> None:
        self._sidecar = sidecar
        self._redis = redis
        self._feed = feed
        self._trust = sidecar.feed_trust
        self._asking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Takes part, once."""
        if self._task is None:
            self._task = self._sidecar.background.keep(
                LEASE_TASK, self._contend, outages=(RedisError, OSError)
            )

    async def leave(self) -> None:
        """Lets another process follow the feed at once."""
        if self._task is not None:
            await ended(self._task)
            self._task = None
        await self._feed.stop()
        await self._redis.lease.release()
        metrics.FEED_LEASE_HELD.set(0)

    async def applicable_at(self) -> float | None:
        """As of when a frame that is here may be applied; None where it may be older than others' changes."""
        while self._trust.membership.role is not Role.FOLLOWER:
            at, membership = self._sidecar.clock.monotonic(), self._trust.membership
            if membership.may_apply(self._sidecar.clock.monotonic()):
                return at
            if membership.awaits_feed:
                return None
            await self._ask()
        return None

    async def _contend(self) -> None:
        """Tries to get or keep the lease, for ever; whoever has it opens the feed."""
        while True:
            self._trust.lease_wanted.clear()
            await self._ask()
            await self._until_next_turn()

    async def _until_next_turn(self) -> None:
        """A moment, or until there is something to say or to read."""
        try:
            async with asyncio.timeout(RENEW_SECONDS):
                await self._trust.lease_wanted.wait()
        except TimeoutError:
            return

    async def _ask(self) -> None:
        async with self._asking:
            membership = self._trust.membership
            epoch = membership.epoch if membership.role is Role.LEADER else None
            reading = await self._redis.lease.ask(epoch)
            self._redis.lease_state = reading.state
            await self._take(reading)

    async def _take(self, reading: LeaseReading) -> None:
        held_until = self._redis.lease.held_until

        def leased(membership: Membership, now: float) -> Membership:
            return membership.leased(reading.status, now=now, held_until=held_until, leader=reading.leader)

        before = self._trust.move(leased)
        now = self._trust.membership
        metrics.FEED_LEASE_HELD.set(now.role is Role.LEADER)
        if now.role is not before.role:
            logger.info("feed role changed role=%s was=%s", now.role.value, before.role.value)
        has_gap = now.trust.since != before.trust.since
        if has_gap:
            self._sidecar.changes.all_changed()
        if now.role is before.role is Role.FOLLOWER and before.trust.following and not now.trust.following:
            logger.warning("the feed's leader is silent; what is cached is looked at again on use")
        if now.role is Role.FOLLOWER:
            await self._feed.stop()
            return
        if has_gap and before.role is not Role.FOLLOWER:
            logger.warning("this process was stopped for long; its feed is opened anew")
            await self._feed.stop()
        self._feed.start()
