"""The time, from the machine: the one place that asks it."""

import time


class SystemClock:
    """A Clock."""

    def now_ms(self) -> int:
        """The wall clock, epoch milliseconds UTC."""
        return time.time_ns() // 1_000_000

    monotonic = staticmethod(time.monotonic)  # noqa: TID251 - this is the Clock
    """Seconds that never jump."""
