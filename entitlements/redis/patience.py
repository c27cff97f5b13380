"""How long a call to Redis is waited for: as long as it takes there, and not much longer."""

from typing import NamedTuple

LEAST_SECONDS = 0.3
"""A Redis that answers within a millisecond may still stand still for a moment."""
MOST_SECONDS = 1.0
"""What a request may lose to one call at the most; also where nothing was measured yet."""
SHARE_OF_NEW = 1 / 8
SHARE_OF_NEW_DEVIATION = 1 / 4
DEVIATIONS = 4
"""By Jacobson's way, as TCP reckons when to send again (RFC 6298, section 2)."""


class _Measured(NamedTuple):
    seconds: float
    deviation_seconds: float


class Patience:
    """What calls took of late. Any thread may ask and note: the value is replaced whole.

    A call that nobody waits for any more is noted, too, when its answer is there: so a Redis that has become
    slow is waited for as soon as it has answered once, and one that hangs teaches nothing.
    """

    def __init__(self) -> None:
        self._measured: _Measured | None = None

    @property
    def seconds(self) -> float:
        """How long the next call is waited for."""
        measured = self._measured
        if measured is None:
            return MOST_SECONDS
        expected = measured.seconds + DEVIATIONS * measured.deviation_seconds
        return min(max(expected, LEAST_SECONDS), MOST_SECONDS)

    def note(self, took_seconds: float) -> None:
        """An answer came after so long."""
        held = self._measured
        if held is None:
            self._measured = _Measured(took_seconds, took_seconds / 2)
            return
        off = abs(took_seconds - held.seconds)
        self._measured = _Measured(
            held.seconds + SHARE_OF_NEW * (took_seconds - held.seconds),
            held.deviation_seconds + SHARE_OF_NEW_DEVIATION * (off - held.deviation_seconds),
        )
