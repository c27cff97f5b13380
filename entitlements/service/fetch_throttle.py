"""Hits come first: where they have work for the whole processor, a storm of fetches starts slowly.

Hits are answered on a thread of their own, fetches on the event loop. Both need the interpreter, of which the
system gives each about half, and a fetch costs as much as thirty hits.
"""

import asyncio
import logging

from entitlements import metrics
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.ports import Clock, EntitySource, Processor
from entitlements.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)

STORM = 8
"""Fewer fetches under way at a time are no storm, and never wait."""
SAMPLE_SECONDS = 0.1
"""How busy the threads are is measured over at least so long."""
HITS_SHARE = 0.3
"""Hits that use less of a processor do not need to come first."""
FULL_SHARE = 0.8
"""The two threads that use so much of a processor together want more than there is of the interpreter."""
LOOP_SHARE = 0.05
"""Fetches then start so slowly that the event loop uses this part of a processor, by its own count: what hits
lose to it is three times as much."""
LONGEST_PAUSE_SECONDS = 1.0
"""A fetch waits no longer, however many are before it,"""
PAUSE_SHARE = 0.25
"""and no larger part of its budget."""
FIRST_INTERVAL_SECONDS = 0.02
"""Between two fetches, until it is known what one costs."""


class FetchThrottle:
    """When fetches start; its methods belong to the event loop."""

    def __init__(self, *, clock: Clock) -> None:
        """Lets every fetch start at once until it has something to watch."""
        self._clock = clock
        self._processor: Processor | None = None
        self._log = RateLimitedLog(logger, clock.monotonic)
        self._sampled_at = clock.monotonic()
        self._hits_before = 0.0
        self._loop_before = 0.0
        self._started = 0
        self._is_full = False
        self._interval_seconds = FIRST_INTERVAL_SECONDS
        self._next_at = float("-inf")
        self.paced = 0
        """How many fetches had to wait."""

    def watch(self, processor: Processor | None) -> None:
        """Has fetches wait where the threads of this processor want more than there is; None: none waits."""
        self._processor = processor
        self._is_full = False

    def pause_seconds(self, *, under_way: int, budget_seconds: float) -> float:
        """How long the fetch that asks has to wait; mostly 0.

        Args:
            under_way: the number of fetches that have begun or wait, this one included.
            budget_seconds: what it may spend.
        """
        now = self._clock.monotonic()
        if self._processor is not None:
            self._sample(now, self._processor)
        self._started += 1
        if not self._is_full or under_way < STORM:
            return 0.0
        longest_seconds = min(LONGEST_PAUSE_SECONDS, PAUSE_SHARE * budget_seconds)
        start_at = min(max(now, self._next_at), now + longest_seconds)
        self._next_at = start_at + self._interval_seconds
        if start_at > now:
            self._note_paced()
        return start_at - now

    def _sample(self, now: float, processor: Processor) -> None:
        seconds = now - self._sampled_at
        if seconds < SAMPLE_SECONDS:
            return
        hits, loop = processor.hits_seconds(), processor.loop_seconds()
        hits_used, loop_used = hits - self._hits_before, loop - self._loop_before
        is_wanted_by_hits = hits_used >= HITS_SHARE * seconds
        self._is_full = is_wanted_by_hits and hits_used + loop_used >= FULL_SHARE * seconds
        if self._started:
            self._interval_seconds = loop_used / self._started / LOOP_SHARE
        self._sampled_at, self._hits_before, self._loop_before, self._started = now, hits, loop, 0

    def _note_paced(self) -> None:
        self.paced += 1
        metrics.FETCHES_PACED.inc()
        self._log.info("paced", "fetches start slowly: hits have work for the whole processor")


class ThrottledSource:
    """An EntitySource that is asked when its turn comes."""

    def __init__(self, source: EntitySource, fetch_throttle: FetchThrottle) -> None:
        self.source = source.source
        self._inner = source
        self._fetch_throttle = fetch_throttle
        self._under_way = 0

    async def fetch(self, key: EntityKey, *, budget_seconds: float) -> Entity:
        """As the source's own; the pause is part of the budget."""
        self._under_way += 1
        try:
            pause = self._fetch_throttle.pause_seconds(
                under_way=self._under_way, budget_seconds=budget_seconds
            )
            if pause:
                await asyncio.sleep(pause)
            return await self._inner.fetch(key, budget_seconds=budget_seconds - pause)
        finally:
            self._under_way -= 1
