"""What a moment of this process is by Redis' clock, which orders the knowledge of all processes."""

from collections.abc import Callable
from typing import NamedTuple

from entitlements.redis.connection import Client
from entitlements.redis.keys import raw
from entitlements.redis.scripts import run_script

_TIME = "return redis.call('TIME')"
# By a script, because a Cluster's client can send that, unlike TIME itself, where a key is.
TRUSTED_SECONDS = 60.0
"""A measurement that is older is made again, if no answer says the time by the way."""

RESOLUTION_SECONDS = 0.001
"""Redis says its time in whole milliseconds: of two quick answers one may look so much off."""
MAX_DRIFT = 0.0005
"""Seconds a second: a clock that is set right by and by (NTP) runs no faster."""


class _Measured(NamedTuple):
    difference_ms: float
    took_seconds: float
    at: float
    least_ms: int = 0
    """No moment since `at` is earlier than this: so late was it by the measurement before."""

    def redis_ms(self, moment: float) -> int:
        """A moment of ours, by Redis' clock."""
        return max(self.least_ms, round(moment * 1000 + self.difference_ms))

    def moment(self, redis_ms: int) -> float:
        """What `redis_ms` was made of."""
        return (redis_ms - self.difference_ms) / 1000


class TwoClocks:
    """The difference of Redis' clock and ours, by the quickest answer of late.

    Were it measured anew for each write, what was known later could look earlier: a thread that waits for
    the processor after the answer came takes the wait for age, and its write would be refused as the older
    one. So one measurement serves many writes, and the order among them is that of our own clock; every
    answer that says the time is one more, so that hardly any is asked for by itself. The first one may be a
    slow one, as at a start: a better one counts from when it was made, and what is later then stays later.
    One that took longer replaces a quicker one once that may be as wrong by the drift of the clocks: an
    answer on which a busy processor, or a slow line, lost half a second would let an older write look newer.
    Any thread may ask: the value is replaced whole.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._measured: tuple[_Measured | None, _Measured | None] = None, None
        """The one in force, and the one before it, for moments of its time."""
        self._asked_at = float("-inf")

    def now(self) -> float:
        """Our own clock, monotonic seconds."""
        return self._monotonic()

    def redis_ms(self, client: Client, key: str) -> int:
        """The time by the clock of the Redis that has this key; measured where that was not done of late."""
        now = self._monotonic()
        measured, _ = self._measured
        if measured is None or now - max(measured.at, self._asked_at) > TRUSTED_SECONDS:
            self._asked_at = now
            self.measured(redis_ms(client, key), since=now)
            now = self._monotonic()
        return self.as_redis_ms(now)

    def measured(self, now_ms: int, *, since: float) -> bool:
        """Takes what an answer just said of Redis' clock; True where that is another than it was.

        Args:
            now_ms: the time by it.
            since: before Redis was asked.
        """
        after = self._monotonic()
        return self._take(_Measured(now_ms - (since + after) * 500, after - since, after))

    def as_redis_ms(self, moment: float) -> int:
        """A moment of ours (monotonic seconds) by Redis' clock; 0 before anything was measured."""
        measured, before = self._measured
        if measured is None:
            return 0
        if before is not None and moment < measured.at:
            return before.redis_ms(moment)
        return measured.redis_ms(moment)

    def moment_of(self, redis_ms: int) -> float:
        """A moment by Redis' clock, by ours, monotonic seconds; long ago before anything was measured."""
        measured, before = self._measured
        if measured is None:
            return float("-inf")
        moment = measured.moment(redis_ms)
        if before is not None and moment < measured.at:
            return min(before.moment(redis_ms), measured.at)
        return moment

    def _take(self, new: _Measured) -> bool:
        held, _ = self._measured
        if held is None:
            self._measured = new, None
            return False
        apart_seconds = abs(new.difference_ms - held.difference_ms) / 1000
        drifted_seconds = (new.at - held.at) * MAX_DRIFT
        if apart_seconds > new.took_seconds + held.took_seconds + RESOLUTION_SECONDS + drifted_seconds:
            self._measured = new, None  # another Redis, or its clock was set
            return True
        if (
            new.took_seconds <= held.took_seconds + 2 * drifted_seconds
        ):  # each is wrong by half of what it took
            self._measured = new._replace(least_ms=held.redis_ms(new.at)), held
        return False


def redis_ms(client: Client, key: str) -> int:
    """The time by the clock of the Redis that has this key, epoch milliseconds."""
    seconds, micros = run_script(client, _TIME, [raw(key)], [])
    return int(seconds) * 1000 + int(micros) // 1000
