"""How many requests a minute may hold: the generic cell rate algorithm (GCRA), with a tap that closes.

`entitlements/redis/shared_budget.py` has the same as a script, for all processes at once.
"""

from dataclasses import dataclass
from math import floor
from typing import Final

MINUTE_SECONDS: Final = 60.0
BURST_SECONDS: Final = 5.0
"""An unused budget lets through at once what it has for so long."""
HOLD_SECONDS: Final = 1.0
"""Who takes tokens uses them within this, or not at all."""
REOPENING_SECONDS: Final = 60.0
"""So long after a pause the budget grows from a part of it to the whole."""
REOPENING_COST: Final = 4.0
"""How much more a request costs as the pause ends."""
LONGEST_PAUSE_SECONDS: Final = 60.0
"""A pause that would last longer comes from a clock that was set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was given of a budget, and what it has left."""

    tokens: int
    remaining: int
    closed_seconds: float = 0.0
    """How long nobody gets any; 0: it is open."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The figures of a budget.

    What is used in any minute was taken within it or up to HOLD_SECONDS before. With one token each
    `interval_seconds`, and those of BURST_SECONDS at once, that is the budget and never more: but at least
    one token is there, so that a budget below 12 a minute may be exceeded by one.
    """

    per_minute: float

    @property
    def interval_seconds(self) -> float:
        """Between two tokens."""
        return (MINUTE_SECONDS + HOLD_SECONDS + BURST_SECONDS) / self.per_minute

    @property
    def burst_seconds(self) -> float:
        """The tokens of this time are there at once."""
        return max(BURST_SECONDS, self.interval_seconds)

    @property
    def burst(self) -> int:
        """The most that is left at any time."""
        return floor(self.burst_seconds / self.interval_seconds)


class RequestBudget:
    """The budget of one process; times are seconds of one clock, passed in, which may jump."""

    def __init__(self, pace: Pace) -> None:
        """Full."""
        self._pace = pace
        self._spent_until = float("-inf")
        """The tokens of the time before this are spent."""
        self._closed_until = float("-inf")

    def take(self, wanted: int, *, now: float) -> Taken:
        """So many tokens, or as many as there are."""
        self._settle(now)
        since = now - self._closed_until
        cost = self._pace.interval_seconds
        if since < REOPENING_SECONDS:
            cost *= 1 + (REOPENING_COST - 1) * (1 - since / REOPENING_SECONDS)
        there = max(0, floor((now + self._pace.burst_seconds - self._spent_until) / cost))
        tokens = min(wanted, there)
        self._spent_until += tokens * cost
        return Taken(tokens=tokens, remaining=there - tokens, closed_seconds=max(0.0, -since))

    def close(self, pause_seconds: float, *, now: float) -> None:
        """Gives nothing for so long; a pause that lasts is not made longer."""
        self._settle(now)
        if self._closed_until <= now:
            self._closed_until = now + pause_seconds
            self._spent_until = self._closed_until + self._pace.burst_seconds

    def _settle(self, now: float) -> None:
        """What cannot be, since the clock was set, is forgotten."""
        if self._closed_until > now + LONGEST_PAUSE_SECONDS:
            self._closed_until = float("-inf")
        latest = max(now, self._closed_until) + self._pace.burst_seconds
        self._spent_until = max(now, min(self._spent_until, latest))
