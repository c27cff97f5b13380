"""Metrics of paths that may cost next to nothing: noted now, and added to the metric many at a time."""

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from weakref import WeakMethod

from prometheus_client import Counter, Histogram, Metric
from prometheus_client.registry import Collector

MAX_NOTED = 1000
"""How many notes of one kind are kept before they are settled at once."""


class DeferredObservations:
    """What a path that may cost next to nothing observed; added to its metrics later, many at a time.

    Any thread may note and settle; nothing is lost or counted twice.
    """

    def __init__(self, add: Callable[[Sequence[float]], None]) -> None:
        """Has `add` bring what was noted into the metrics."""
        self._add = add
        self._noted: deque[float] = deque()
        _TO_SETTLE.append(self.settle)

    def note(self, value: float) -> None:
        """One more observation."""
        self._noted.append(value)
        if len(self._noted) >= MAX_NOTED:
            self.settle()

    def settle(self) -> None:
        """Adds what was noted so far to the metrics."""
        values = []
        try:
            while True:
                values.append(self._noted.popleft())
        except IndexError:
            self._add(values)


class DeferredCounter:
    """How often something happened on a path that may cost next to nothing; added to its metric later.

    Any thread may count and settle; nothing is lost or counted twice.
    """

    def __init__(self, metric: Counter) -> None:
        """Counts for this metric."""
        self._metric = metric
        self._settled = 0
        self._settling = threading.Lock()
        self.count: Callable[[], int] = count().__next__
        """Once more; what it returns means nothing. It is the C function itself: a call of Python's costs a
        hit half a percent."""
        _TO_SETTLE.append(self.settle)

    def settle(self) -> None:
        """Adds what was counted so far to the metric."""
        with self._settling:
            counted = self.count()
            self._metric.inc(counted - self._settled)
            self._settled = counted + 1  # asking took a number, too


def settled_at_scrape(publish: Callable[[], None]) -> None:
    """Has a bound method bring a state into its metrics when they are read, as long as its object lives."""
    reference = WeakMethod(publish)

    def settle() -> None:
        living = reference()
        if living is None:
            _TO_SETTLE.remove(settle)
        else:
            living()

    _TO_SETTLE.append(settle)


_TO_SETTLE: list[Callable[[], None]] = []
"""Everything of this process that waits to be added to its metric."""


def settle_all() -> None:
    """Adds everything noted and counted in this process to the metrics."""
    for settle in tuple(_TO_SETTLE):
        settle()


class SettledAtScrape(Collector):
    """Registered before every metric: a scrape of one process misses nothing."""

    def collect(self) -> Iterable[Metric]:
        settle_all()
        return ()


class BulkHistogram(Histogram):
    """A Histogram that also takes many observations at once: one by one they stop a busy thread for 1 ms.

    The client library has nothing for that; this rests on what its own `observe` rests on.
    """

    def observe_all(self, amounts: Sequence[float]) -> None:
        """As `observe` of each."""
        ordered = sorted(amounts)
        self._sum.inc(sum(ordered))
        counted = 0
        for bucket, bound in zip(self._buckets, self._upper_bounds, strict=True):
            up_to_bound = bisect_right(ordered, bound)
            if up_to_bound > counted:
                bucket.inc(up_to_bound - counted)
                counted = up_to_bound
