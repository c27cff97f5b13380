"""One connection of the feed: subscribes, pings, hands on what comes, and ends by raising why."""

import asyncio
import math
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Protocol

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from entitlements import metrics
from entitlements.background import awaited, ended
from entitlements.upstream.feed_protocol import (
    Delivered,
    Failed,
    FeedProtocol,
    Followed,
    Problem,
    Skipped,
    SubscriptionEnded,
)

SUBPROTOCOL = Subprotocol("graphql-transport-ws")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedTimings:
    """All waits of the feed, in seconds; back-offs double from first to last, and are jittered."""

    ping_seconds: float = 10.0
    idle_seconds: float = 30.0
    """A connection on which nothing arrives for so long is cut; whose pongs come later is not followed."""
    handshake_seconds: float = 10.0
    """To connect; and again from there until the feed is followed."""
    resubscribe_seconds: float = 1.0
    """Before a subscription that ended is asked for again; doubles like the others, on one connection."""
    first_backoff_seconds: float = 0.5
    longest_backoff_seconds: float = 30.0
    first_slow_backoff_seconds: float = 30.0
    """After a refused key, or when the cloud asks to slow down."""
    longest_slow_backoff_seconds: float = 120.0
    stable_seconds: float = 10.0
    """A feed that was followed for less counts as one more failed attempt."""


class ConnectionEnded(Exception):
    """The connection is of no use any more."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.value)
        self.problem = problem


class ConnectionListener(Protocol):
    """Whom a connection reports to, in order."""

    async def delivered(self, event: Delivered) -> None:
        """A change arrived."""
        ...

    async def followed(self) -> None:
        """Every subscription is acknowledged."""
        ...

    async def unfollowed(self, problem: Problem) -> None:
        """A subscription has ended."""
        ...


class FeedConnection:
    """One connection: what arrives goes through the protocol, and what the protocol has to say goes out."""

    def __init__(
        self,
        feed: ConnectionListener,
        socket: ClientConnection,
        protocol: FeedProtocol,
        timings: FeedTimings,
        random: Random,
    ) -> None:
        self._feed = feed
        self._socket = socket
        self._protocol = protocol
        self._timings = timings
        self._random = random
        self._resubscriptions = 0
        self._waiting_since = math.inf
        """Since when a frame is waited for, by the loop's clock; infinite while none is."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def follow(self) -> None:
        """Follows until the connection ends, and says why by what it raises."""
        if self._socket.subprotocol != SUBPROTOCOL:
            raise ConnectionEnded(Problem.LOST)
        self._spawn(self._ping_regularly())
        try:
            async with asyncio.timeout(self._timings.handshake_seconds) as handshake, self._watched():
                await self._send_due()
                while True:
                    await self._receive()
                    if self._protocol.is_followed and handshake.when() is not None:
                        handshake.reschedule(None)
        finally:
            await ended(*self._tasks)

    async def _receive(self) -> None:
        self._waiting_since = asyncio.get_running_loop().time()
        frame = await self._socket.recv()
        self._waiting_since = math.inf
        for event in self._protocol.receive(frame):
            if isinstance(event, Delivered):
                await self._feed.delivered(event)
            else:
                await self._handle(event)
        if self._protocol.outgoing:
            await self._send_due()

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """While entered, no frame is waited for too long: one time-out for all, as each costs much."""
        loop, idle_seconds = asyncio.get_running_loop(), self._timings.idle_seconds
        looking: asyncio.TimerHandle

        def look() -> None:
            nonlocal looking
            idle_until = self._waiting_since + idle_seconds
            if idle_until <= loop.time():
                limit.reschedule(idle_until)
            else:
                looking = loop.call_at(min(idle_until, loop.time() + idle_seconds), look)

        async with asyncio.timeout(None) as limit:
            looking = loop.call_later(idle_seconds, look)
            try:
                yield
            finally:
                looking.cancel()

    async def _handle(self, event: Followed | SubscriptionEnded | Skipped | Failed) -> None:
        match event:
            case Followed():
                await self._feed.followed()
            case SubscriptionEnded():
                await self._feed.unfollowed(Problem.LOST)
                self._spawn(self._resubscribe(event.subscription))
            case Skipped():
                metrics.FEED_EVENTS.labels("unknown", "skipped").inc()
            case Failed():
                raise ConnectionEnded(event.problem)

    async def _send_due(self) -> None:
        frames = self._protocol.frames_to_send()
        if not frames:
            return
        async with asyncio.timeout(self._timings.idle_seconds):
            for frame in frames:
                await self._socket.send(frame)

    async def _ping_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._timings.ping_seconds)
            self._protocol.ping()
            await self._send_due()
            await self._notice_lag()

    async def _notice_lag(self) -> None:
        """Where changes come, the feed is not silent; they may be late all the same, unknown to anybody."""
        lag_seconds = (self._protocol.pings_under_way - 1) * self._timings.ping_seconds
        if self._protocol.is_followed and lag_seconds > self._timings.idle_seconds:
            self._protocol.doubt()
            await self._feed.unfollowed(Problem.LAGGING)

    async def _resubscribe(self, subscription: str) -> None:
        pause = jittered_backoff(
            self._resubscriptions,
            first=self._timings.resubscribe_seconds,
            longest=self._timings.longest_backoff_seconds,
            random=self._random,
        )
        self._resubscriptions += 1
        await asyncio.sleep(pause)
        self._protocol.resubscribe(subscription)
        await self._send_due()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = awaited(_until_closed(work), name="feed-connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _until_closed(work: Coroutine[None, None, None]) -> None:
    """Runs beside the reader, who is the one to notice that the connection is of no use any more."""
    with suppress(WebSocketException, OSError, TimeoutError):
        await work


def jittered_backoff(attempt: int, *, first: float, longest: float, random: Random) -> float:
    """Seconds to wait after a number of failures: doubles up to the longest, of which half is chance."""
    full = min(first * 2.0 ** min(attempt, 64), longest)
    return full * random.uniform(0.5, 1.0)
