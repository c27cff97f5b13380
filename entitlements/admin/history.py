"""The last hour's counts, for the overview's charts: small samples of the metrics at intervals."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import chain, pairwise
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from entitlements import metrics
from entitlements.background import Background
from entitlements.clock import SystemClock
from entitlements.deferred_metrics import settle_all
from entitlements.domain.ports import Clock

logger = logging.getLogger(__name__)

SAMPLE_SECONDS = 10.0
MAX_SAMPLES = 360
"""An hour of them."""
RECENT_SECONDS = 300.0
"""What the figures of pages are about."""
MAX_POINTS = 60
"""A chart shows no more: of a longer history, each is the mean of several samples."""
_COUNTERS = (
    metrics.GRPC_REQUESTS,
    metrics.CACHE_HITS,
    metrics.CACHE_MISSES,
    metrics.FALLBACKS,
    metrics.STALE_ANSWERS,
    metrics.OUTBOX_DELIVERED,
)
_FIELDS = {
    "sidecar_grpc_requests": "requests",
    "sidecar_cache_hits": "hits",
    "sidecar_cache_misses": "misses",
    "sidecar_fallbacks": "fallbacks",
    "sidecar_stale_answers": "stale",
    "sidecar_outbox_delivered": "delivered",
}
"""Where each of them is counted, by its name."""


class Totals(NamedTuple):
    """What was counted until a moment."""

    at_ms: int
    """Epoch milliseconds."""
    requests: float
    hits: float
    misses: float
    fallbacks: float
    stale: float
    delivered: float
    """Writes of the outbox."""


class Point(NamedTuple):
    """What happened in a stretch of time, a second."""

    at_ms: int
    """When it ended."""
    requests: float
    fallbacks: float


class History:
    """Samples of the last hour; those of all workers together where there are several."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[Totals] = deque(maxlen=MAX_SAMPLES)
        self.counts_all_workers = False
        """True in one of several workers."""

    @asynccontextmanager
    async def kept(self, background: Background, *, counts_all_workers: bool) -> AsyncIterator[None]:
        """While entered, samples are taken."""
        self.counts_all_workers = counts_all_workers
        async with background.kept("history", self._keep):
            yield

    async def _keep(self) -> None:
        while True:
            await asyncio.to_thread(self.sample)
            await asyncio.sleep(SAMPLE_SECONDS)

    def sample(self) -> Totals:
        """Takes a sample now."""
        totals = Totals(at_ms=self._clock.now_ms(), **_sums(counts_all_workers=self.counts_all_workers))
        self._samples.append(totals)
        return totals

    def since(self, seconds: float) -> tuple[Totals, Totals] | None:
        """The first sample of the last so many seconds, and counts as of now; None before the first."""
        samples = list(self._samples)
        if not samples:
            return None
        now = Totals(at_ms=self._clock.now_ms(), **_sums(counts_all_workers=self.counts_all_workers))
        earliest_ms = now.at_ms - seconds * 1000
        return next((each for each in samples if each.at_ms >= earliest_ms), samples[-1]), now

    def points(self) -> list[Point]:
        """At most MAX_POINTS of the hour, the earliest first."""
        samples = list(self._samples)
        step = -(-len(samples) // MAX_POINTS) or 1
        return [_point(earlier, later) for earlier, later in pairwise(samples[::step])]


def _point(earlier: Totals, later: Totals) -> Point:
    seconds = max((later.at_ms - earlier.at_ms) / 1000, 0.001)
    return Point(
        at_ms=later.at_ms,
        # A worker that died and came back may have counted less than before.
        requests=max(later.requests - earlier.requests, 0) / seconds,
        fallbacks=max(later.fallbacks - earlier.fallbacks, 0) / seconds,
    )


def _sums(*, counts_all_workers: bool) -> dict[str, float]:
    read: Callable[[], Iterable[Metric]] = _of_all_workers if counts_all_workers else _of_this_process
    settle_all()
    sums = dict.fromkeys(_FIELDS.values(), 0.0)
    for family in read():
        field = _FIELDS.get(family.name)
        if field is not None:
            total = f"{family.name}_total"
            sums[field] += sum(each.value for each in family.samples if each.name == total)
    return sums


def _of_this_process() -> Iterable[Metric]:
    return chain.from_iterable(counter.collect() for counter in _COUNTERS)


def _of_all_workers() -> Iterable[Metric]:
    collected: Iterable[Metric] = MultiProcessCollector(CollectorRegistry()).collect()  # type: ignore[no-untyped-call]
    return collected


HISTORY = History(clock=SystemClock())
"""This process's."""
