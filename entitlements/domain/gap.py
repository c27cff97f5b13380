"""Gaps in what is learned, and how the re-checks that follow one are spread out.

A gap ends for all of a fleet in the same moment: the cloud answers again, Redis is back, all were deployed
anew. What is held is suspect everywhere then, and would be asked for at once by all.
"""

from collections.abc import Iterable
from dataclasses import dataclass

SPREAD_SECONDS = 60.0
"""Re-checks of what is suspect by a gap begin within so long after its end, each at a moment drawn by lot;
within no more than the gap has lasted, as few changes were missed in a short one; and no longer than anything
may be unverified (SIDECAR_MAX_UNVERIFIED_SECONDS)."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Time in which nothing, or not all, was learned; monotonic seconds."""

    began_at: float
    ended_at: float
    most_seconds: float = SPREAD_SECONDS
    """How long re-checks may be spread out after it."""

    @property
    def spread_until(self) -> float:
        """The last moment that `due_at` may say."""
        return self.ended_at + self._spread_seconds

    def due_at(self, draw: float) -> float:
        """When what is suspect by this gap is re-checked, given a number from 0 to 1 drawn by lot."""
        return self.ended_at + draw * self._spread_seconds

    @property
    def _spread_seconds(self) -> float:
        return min(self.most_seconds, self.ended_at - self.began_at)


NO_GAP = Gap(0.0, 0.0)
"""As if nothing had ever been missed."""


def longest_spread(gaps: Iterable[Gap]) -> Gap:
    """The one whose re-checks take longest."""
    return max(gaps, key=lambda gap: gap.spread_until, default=NO_GAP)


class GapLog:
    """When something was not as it should, and since when it is again."""

    def __init__(self, *, max_unverified_seconds: float) -> None:
        self.last = NO_GAP
        """The ended one that matters: a short one does not cut the spreading off after a long one."""
        self._most_seconds = min(SPREAD_SECONDS, max_unverified_seconds)
        self._began_at: float | None = None

    def note(self, *, is_well: bool, now: float) -> None:
        """How it is at present."""
        if is_well and self._began_at is not None:
            self.last = longest_spread((Gap(self._began_at, now, self._most_seconds), self.last))
            self._began_at = None
        elif not is_well and self._began_at is None:
            self._began_at = now
