"""When to stop asking a source that does not answer, and when to try it again."""

import enum

FAILURES_TO_OPEN = 3
"""So many failures in a row open the circuit."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
"""The pause doubles with each failed probe, up to this."""


class BreakerState(enum.Enum):
    """Whether the source is asked."""

    CLOSED = "closed"
    """Asked always. Left by FAILURES_TO_OPEN failures in a row, or by `trip`."""
    OPEN = "open"
    """Not asked. Left when the pause is over."""
    HALF_OPEN = "half_open"
    """One probe is under way; its outcome closes the circuit or opens it for twice as long."""


class Breaker:
    """The circuit of one source; times are monotonic seconds, passed in."""

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self._failures = 0
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._open_until = 0.0

    def would_allow(self, now: float) -> bool:
        """True when `allows` would be true now; changes nothing."""
        return self.state is BreakerState.CLOSED or (
            self.state is BreakerState.OPEN and now >= self._open_until
        )

    def allows(self, now: float) -> bool:
        """True when the source may be asked now; the first True after a pause is the probe."""
        if not self.would_allow(now):
            return False
        if self.state is BreakerState.OPEN:
            self.state = BreakerState.HALF_OPEN
        return True

    def succeeded(self) -> None:
        """The source answered: the circuit closes."""
        self.state = BreakerState.CLOSED
        self._failures = 0
        self._pause_seconds = FIRST_PAUSE_SECONDS

    def failed(self, now: float) -> None:
        """The source did not answer."""
        self._failures += 1
        if self.state is BreakerState.HALF_OPEN:
            self._pause_seconds = min(self._pause_seconds * 2, LONGEST_PAUSE_SECONDS)
            self._open(now + self._pause_seconds)
        elif self.state is BreakerState.CLOSED and self._failures >= FAILURES_TO_OPEN:
            self._open(now + self._pause_seconds)

    def trip(self, now: float, *, pause_seconds: float) -> None:
        """The source asked for a pause, or will not answer before something changes: the circuit opens."""
        # In this order NaN, which a Retry-After header can hold, is the longest pause and not an endless one.
        self._open(now + min(LONGEST_PAUSE_SECONDS, pause_seconds))

    def abandoned(self, now: float) -> None:
        """A question was given up without an outcome; was it the probe, the next one may probe."""
        if self.state is BreakerState.HALF_OPEN:
            self._open(now)

    def _open(self, until: float) -> None:
        self.state = BreakerState.OPEN
        self._open_until = until
