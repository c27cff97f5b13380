"""What other processes publish through Redis' channels: one subscription, on a thread of its own.

A message can be lost; who waits for one looks for itself as well.
"""

import asyncio
import contextlib
import logging
import random
from collections import defaultdict
from collections.abc import Iterator

from redis.client import PubSub
from redis.exceptions import RedisError

from entitlements import metrics
from entitlements.redis.connection import RedisConnection
from entitlements.redis.keys import raw
from entitlements.redis.nodes import primaries
from entitlements.redis.stoppable_thread import StoppableThread

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""So long `stop` waits at most for the thread to notice."""
PAUSE_SECONDS = 1.0
"""Between two attempts to subscribe."""


class Notifications:
    """Hands messages on the channels of one pattern to those who wait for them on the event loop."""

    def __init__(self, connection: RedisConnection, *, pattern: str) -> None:
        self._connection = connection
        self._pattern = pattern
        self._waiting: defaultdict[str, list[asyncio.Future[bytes]]] = defaultdict(list)
        self._thread = StoppableThread("redis-notifications", self._listen)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Subscribes, now or as soon as Redis answers; called on the event loop that waits."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Ends the subscription; can be called twice."""
        self._thread.stop()

    @contextlib.contextmanager
    def listening(self, channel: str) -> Iterator["asyncio.Future[bytes]"]:
        """A future that the next message on the channel fulfils."""
        announced: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[channel].append(announced)
        try:
            yield announced
        finally:
            announced.cancel()
            self._waiting[channel].remove(announced)
            if not self._waiting[channel]:
                del self._waiting[channel]

    def _listen(self) -> None:
        while not self._thread.is_stopped:
            try:
                # In a Cluster each node passes on what is published on any; another one after each loss.
                node = random.choice(primaries(self._connection.client))  # noqa: S311 - no secret
                pubsub = node.pubsub(ignore_subscribe_messages=True)
                with contextlib.closing(pubsub):
                    pubsub.psubscribe(raw(self._pattern))
                    self._hand_on(pubsub)
            except (RedisError, OSError):  # the connection says so in the log
                self._pause()
            except Exception:  # redis-py fails in many ways where a pool is closed under a read
                logger.warning("a subscription to redis broke", exc_info=True)
                self._pause()

    def _pause(self) -> None:
        metrics.REDIS_CLIENT_ERRORS.inc()
        self._thread.pause(PAUSE_SECONDS)

    def _hand_on(self, pubsub: PubSub) -> None:
        """Hands messages on until it is stopped, or another Redis may stand behind the name."""
        resets = self._connection.resets
        while not self._thread.is_stopped and resets == self._connection.resets:
            message = pubsub.get_message(timeout=POLL_SECONDS)
            if message is not None and self._loop is not None:
                channel = message["channel"].decode("utf-8", "surrogatepass")
                self._loop.call_soon_threadsafe(self._announce, channel, message["data"])

    def _announce(self, channel: str, message: bytes) -> None:
        for announced in self._waiting.get(channel, ()):
            if not announced.done():
                announced.set_result(message)
