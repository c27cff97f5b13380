"""How often something may be done: a token bucket."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So much at once, and so much a second."""

    burst: int
    per_second: float


class TokenBucket:
    """Holds to a rate."""

    def __init__(self, rate: Rate, monotonic: Callable[[], float]) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._tokens = float(rate.burst)
        self._at = monotonic()

    def try_take(self) -> bool:
        """Takes one, if there is one."""
        now = self._monotonic()
        self._tokens = min(self._tokens + (now - self._at) * self._rate.per_second, self._rate.burst)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
