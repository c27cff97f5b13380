"""What a moment of this process is by Redis' clock, which orders the knowledge of all processes."""

from collections.abc import Callable
from typing import NamedTuple

from entitlements.redis.connection import Client
from entitlements.redis.scripts import redis_ms

TRUSTED_SECONDS = 60.0
"""A measurement that took longer replaces a quicker one when that is as old: the two clocks drift."""

RESOLUTION_SECONDS = 0.001
"""Redis says its time in whole milliseconds: of two quick answers one may look so much off."""
MAX_DRIFT = 0.0005
"""Seconds a second: a clock that is set right by and by (NTP) runs no faster."""


class _Measured(NamedTuple):
    difference_ms: float
    took_seconds: float
    at: float


class _Reckoned(NamedTuple):
    moment: float
    redis_ms: int


class TwoClocks:
    """The difference of Redis' clock and ours, by the quickest answer of late.

    Were it measured anew for each write, what was known later could look earlier: a thread that waits for
    the processor after the answer came takes the wait for age, and its write would be refused as the older
    one. So one measurement serves many writes, and the order among them is that of our own clock; every
    answer that says the time is one more, so that hardly any is asked for by itself. Any thread may ask: the
    value is replaced whole.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._measured: _Measured | None = None
        self._latest: _Reckoned | None = None
        """Of all moments since when something is known, the latest."""

    def now(self) -> float:
        """Our own clock, monotonic seconds."""
        return self._monotonic()

    def redis_ms(self, client: Client, key: str) -> int:
        """The time by the clock of the Redis that has this key; measured where that was not done of late."""
        now = self._monotonic()
        measured = self._measured
        if measured is None or now - measured.at > TRUSTED_SECONDS:
            self.measured(redis_ms(client, key), since=now)
            now = self._monotonic()
        return self._reckoned(now)

    def measured(self, now_ms: int, *, since: float) -> bool:
        """Takes what an answer just said of Redis' clock; True where that is another than it was.

        Args:
            now_ms: the time by it.
            since: before Redis was asked.
        """
        after = self._monotonic()
        return self._take(_Measured(now_ms - (since + after) * 500, after - since, after))

    def as_redis_ms(self, moment: float) -> int:
        """Since when something is known (monotonic seconds) by Redis' clock; 0 before any measurement."""
        reckoned, latest = self._reckoned(moment), self._latest
        if latest is not None and moment < latest.moment:
            return min(reckoned, latest.redis_ms)
        # The first measurement may be a slow one, as at a start: a better one after it must not make what
        # is written next look older than what was written before.
        in_order = reckoned if latest is None else max(reckoned, latest.redis_ms)
        self._latest = _Reckoned(moment, in_order)
        return in_order

    def _reckoned(self, moment: float) -> int:
        measured = self._measured
        return 0 if measured is None else max(0, round(moment * 1000 + measured.difference_ms))

    def _take(self, new: _Measured) -> bool:
        held = self._measured
        if held is None or new.took_seconds <= held.took_seconds or new.at - held.at > TRUSTED_SECONDS:
            self._measured = new
        if held is None:
            return False
        apart_seconds = abs(new.difference_ms - held.difference_ms) / 1000
        drifted_seconds = (new.at - held.at) * MAX_DRIFT
        if apart_seconds <= new.took_seconds + held.took_seconds + RESOLUTION_SECONDS + drifted_seconds:
            return False
        self._measured, self._latest = new, None  # another Redis, or its clock was set
        return True
