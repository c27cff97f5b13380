"""When to stop asking a source that does not answer, and when to try it again.

The circuit is for the source, not for one entity: it counts distinct subjects, and opens when they fail
together (contract/upstream.md, Whose fault it is).
"""

import enum
from collections.abc import Hashable

FAILURES_TO_OPEN = 3
"""How many subjects that fail with no success between them open the circuit, if they do so"""
TOGETHER_SECONDS = 10.0
"""within this: a few that fail now and then, each by itself, say nothing about the source."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
"""The pause doubles each time that the circuit opens again before a question succeeded, up to this."""


class BreakerState(enum.Enum):
    """Whether the source is asked."""

    CLOSED = "closed"
    """Asked always. Left by FAILURES_TO_OPEN subjects that fail together, or by `trip`."""
    OPEN = "open"
    """Not asked. Left when the pause is over."""
    HALF_OPEN = "half_open"
    """One probe is under way; its outcome closes the circuit or opens it for twice as long."""


class Breaker:
    """The circuit of one source; times are monotonic seconds, passed in."""

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self._failed_at: dict[Hashable, float] = {}
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._open_until = 0.0

    def would_allow(self, now: float) -> bool:
        """True when `try_acquire` would be true now; changes nothing."""
        return self.state is BreakerState.CLOSED or (
            self.state is BreakerState.OPEN and now >= self._open_until
        )

    def try_acquire(self, now: float) -> bool:
        """True when the source may be asked now; the first True after a pause is the probe."""
        if not self.would_allow(now):
            return False
        if self.state is BreakerState.OPEN:
            self.state = BreakerState.HALF_OPEN
        return True

    def succeeded(self) -> None:
        """A question was answered: the circuit closes."""
        self.answered()
        self._pause_seconds = FIRST_PAUSE_SECONDS

    def answered(self) -> None:
        """The source answers something else: it closes, but a source that goes on failing pauses longer."""
        self.state = BreakerState.CLOSED
        self._failed_at.clear()

    def failed(self, now: float, *, subject: Hashable = None, pause_seconds: float = 0.0) -> None:
        """The source did not answer.

        Args:
            now: monotonic seconds.
            subject: whom it was asked about; None: nobody, so that each failure counts.
            pause_seconds: how long it asks to be left alone, if this opens the circuit.
        """
        subject = object() if subject is None else subject
        self._failed_at.pop(subject, None)
        self._failed_at[subject] = now
        together = [at for at in self._failed_at.values() if now - at <= TOGETHER_SECONDS]
        is_probe = self.state is BreakerState.HALF_OPEN
        if is_probe or (self.state is BreakerState.CLOSED and len(together) >= FAILURES_TO_OPEN):
            self._open(now + max(self._pause_seconds, min(LONGEST_PAUSE_SECONDS, pause_seconds)))
            self._pause_seconds = min(self._pause_seconds * 2, LONGEST_PAUSE_SECONDS)
        while len(self._failed_at) > FAILURES_TO_OPEN:
            del self._failed_at[next(iter(self._failed_at))]

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
