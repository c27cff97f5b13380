"""Owns the feed's socket: connects, pings, notices silence, backs off, and says how it is."""

import asyncio
import enum
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from entitlements import metrics
from entitlements.deferred_metrics import settled_at_scrape
from entitlements.domain.ports import Clock, FeedListener
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.upstream.feed_connection import (
    SUBPROTOCOL,
    ConnectionEnded,
    FeedConnection,
    FeedTimings,
    jittered_backoff,
)
from entitlements.upstream.feed_protocol import (
    Delivered,
    FeedProtocol,
    Problem,
    classify_close,
    classify_status,
)
from entitlements.upstream.graphql_documents import SUBSCRIPTIONS
from entitlements.upstream.identity import Identity
from entitlements.upstream.network import Network

logger = logging.getLogger(__name__)

# The library's own logger prints frames at debug, and the first frame holds the key.
_silent = logging.getLogger(f"{__name__}.frames")
_silent.disabled = True

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""A larger frame ends the connection."""
MAX_FRAMES_BUFFERED = 1
"""How many whole frames are read ahead, beside the one that is handled; then the cloud has to wait.

A bound of frames only, so it is small: with 16 a cloud of large frames took a quarter of a gigabyte here.
"""


class FeedPhase(enum.Enum):
    """What the feed is doing."""

    CONNECTING = "connecting"
    FOLLOWING = "following"
    """Every change arrives."""
    WAITING = "waiting"
    """For the next attempt."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedState:
    """How the feed is, for people; replaced whole."""

    phase: FeedPhase = FeedPhase.STOPPED
    since_ms: int = 0
    """When the phase began, epoch milliseconds."""
    last_event_ms: int | None = None
    problem: Problem | None = None
    """Why it is not followed; None while it is."""
    failed_attempts: int = 0
    """In a row."""


class _Connect(connect):
    """Connects to the address it is given and to no other: the first frame holds the key."""

    def process_redirect(self, exc: Exception) -> Exception:
        """See websockets: no redirect is followed."""
        return exc


class Feed:
    """Follows the cloud's live feed for as long as `run` runs, and reports to its listener."""

    def __init__(  # noqa: PLR0913 - each is another thing, and all have names
        self,
        *,
        url: str,
        identity: Identity,
        listener: FeedListener,
        clock: Clock,
        random: Random,
        timings: FeedTimings,
        network: Network,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        self._answered = answered
        """Called when the cloud has taken the subscriptions: it is there, whatever else fails."""
        self._state = FeedState()
        self._last_event_ms: int | None = None
        self._url = f"{url}/graphql"
        self._network = network
        self._identity = identity
        self._awake = asyncio.Event()
        self._listener = listener
        self._clock = clock
        self._random = random
        self._timings = timings
        self._log = RateLimitedLog(logger, clock.monotonic)
        settled_at_scrape(self._publish)

    @property
    def state(self) -> FeedState:
        """How it is now."""
        return replace(self._state, last_event_ms=self._last_event_ms)

    def _publish(self) -> None:
        if self._last_event_ms is not None:
            metrics.FEED_LAST_EVENT.set(self._last_event_ms / 1000)

    async def run(self) -> None:
        """Follows the feed until it is cancelled; never gives up."""
        self._enter(FeedPhase.CONNECTING)
        try:
            while True:
                problem = await self._follow_once()
                await self.unfollowed(problem)
                metrics.FEED_RECONNECTS.labels(problem.value).inc()
                await self._wait(self._backoff_seconds(problem))
        finally:
            self._enter(FeedPhase.STOPPED)

    def try_now(self) -> None:
        """Ends a pause before its time: what was in the way may be gone, such as a refused key."""
        self._awake.set()

    async def _wait(self, seconds: float) -> None:
        self._awake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._awake.wait()

    async def _follow_once(self) -> Problem:
        """Connects and follows for as long as it goes; returns why it ended."""
        try:
            async with _Connect(
                self._url,
                proxy=self._network.proxies.proxy_of(self._url),
                ssl=self._network.trust.context() if self._url.startswith("wss:") else None,
                subprotocols=[SUBPROTOCOL],
                additional_headers={"User-Agent": self._identity.headers["User-Agent"]},
                user_agent_header=None,
                open_timeout=self._timings.handshake_seconds,
                close_timeout=1,
                ping_interval=None,  # our own pings show that the server's application is alive too
                max_size=MAX_FRAME_BYTES,
                max_queue=MAX_FRAMES_BUFFERED,
                logger=_silent,
            ) as socket:
                protocol = FeedProtocol(headers=self._identity.headers, subscriptions=SUBSCRIPTIONS)
                await FeedConnection(self, socket, protocol, self._timings, self._random).follow()
        except ConnectionEnded as ended:
            return ended.problem
        except ConnectionClosed as closed:
            return classify_close(closed.rcvd.reason if closed.rcvd else "")
        except InvalidStatus as refused:
            metrics.NETWORK_REQUEST_ERRORS.inc()
            return classify_status(refused.response.status_code)
        except ssl.SSLCertVerificationError:
            metrics.NETWORK_REQUEST_ERRORS.inc()
            self._network.trust.refresh()
            return Problem.UNTRUSTED
        except (WebSocketException, InvalidHandshake, OSError, TimeoutError, EOFError):
            metrics.NETWORK_REQUEST_ERRORS.inc()
        return Problem.LOST

    async def followed(self) -> None:
        """Every change arrives from now on."""
        level = logging.INFO if self._state.problem is None else logging.WARNING
        logger.log(level, "the live feed is followed")
        self._enter(FeedPhase.FOLLOWING, problem=None)
        self._answered()
        await self._listener.followed()

    async def delivered(self, event: Delivered) -> None:
        """Passes one frame on."""
        self._last_event_ms = self._clock.now_ms()
        await self._listener.delivered(event.subscription, event.frame)

    async def unfollowed(self, problem: Problem) -> None:
        """Changes are missed from now on; the connection may still be of use."""
        was_following = self._state.phase is FeedPhase.FOLLOWING
        if was_following or problem is not self._state.problem:
            self._log.forget(problem.value)
        self._log_loss(problem)
        if problem is Problem.KEY_REFUSED:
            metrics.INVALID_API_KEY_ERRORS.inc()
        failed_attempts = 1 if self._was_stable() else self._state.failed_attempts + 1
        self._enter(FeedPhase.WAITING, problem=problem, failed_attempts=failed_attempts)
        if was_following:
            await self._listener.lost(problem.value)

    def _was_stable(self) -> bool:
        followed_ms = self._clock.now_ms() - self._state.since_ms
        return self._state.phase is FeedPhase.FOLLOWING and followed_ms >= self._timings.stable_seconds * 1000

    def _log_loss(self, problem: Problem) -> None:
        """At once, and then once a minute for as long as it lasts."""
        match problem:
            case Problem.KEY_REFUSED:
                sentence = "the live feed refuses the API key (SERVER_API_KEY); it is tried again slowly"
                self._log.error(problem.value, sentence, cause=problem.value)
            case Problem.THROTTLED:
                self._log.info(problem.value, "the live feed asks to slow down")
            case Problem.UNTRUSTED:
                sentence = (
                    "the live feed's certificate is not trusted; set SSL_CERT_FILE to the certificate of its "
                    "authority"
                )
                self._log.error(problem.value, sentence, cause=problem.value)
            case Problem.LAGGING:
                sentence = "the live feed lags; what is cached is checked again on use"
                self._log.warning(problem.value, sentence, cause=problem.value)
            case Problem.LOST:
                sentence = "the live feed is not connected; what is cached is checked again on use"
                self._log.warning(problem.value, sentence, cause=problem.value)

    def _enter(self, phase: FeedPhase, **changes: object) -> None:
        self._state = replace(self._state, phase=phase, since_ms=self._clock.now_ms(), **changes)  # type: ignore[arg-type]

    def _backoff_seconds(self, problem: Problem) -> float:
        timings = self._timings
        first, longest = timings.first_backoff_seconds, timings.longest_backoff_seconds
        if problem in {Problem.KEY_REFUSED, Problem.THROTTLED}:
            first, longest = timings.first_slow_backoff_seconds, timings.longest_slow_backoff_seconds
        return jittered_backoff(
            self._state.failed_attempts - 1, first=first, longest=longest, random=self._random
        )
