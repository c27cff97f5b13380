"""How long the outbox waits after a delivery that failed; and for people: why, and when it tries again."""

from dataclasses import dataclass
from random import Random

from entitlements.domain.errors import SidecarError, Throttled
from entitlements.domain.ports import Clock

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 15.0
"""After a failed delivery the pause doubles up to this; the cloud's own Retry-After is bounded so, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """What keeps the outbox from being delivered."""

    cause: str
    """The outcome of the error: one of a bounded set."""
    next_try_ms: int


class DeliveryPause:
    """Longer with each failure, until something is delivered."""

    def __init__(self, *, clock: Clock, random: Random) -> None:
        self.delay: Delay | None = None
        """Of the last delivery, where it failed."""
        self._clock = clock
        self._random = random
        self._failures = 0

    def after(self, error: SidecarError) -> float:
        """The seconds to wait after this failure."""
        self._failures += 1
        seconds = self._seconds(error)
        self.delay = Delay(
            cause=getattr(error, "outcome", "failed"),
            next_try_ms=self._clock.now_ms() + round(seconds * 1000),
        )
        return seconds

    def over(self) -> None:
        """Something was delivered, or nothing waits."""
        self._failures, self.delay = 0, None

    def _seconds(self, error: SidecarError) -> float:
        pause: float = min(FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 16), LONGEST_PAUSE_SECONDS)
        if isinstance(error, Throttled) and error.retry_after_seconds is not None:
            return min(max(error.retry_after_seconds, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        return pause * self._random.uniform(0.5, 1)
