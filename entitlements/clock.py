"""The time, from the machine: the one place that asks it."""

import sys
import time


class SystemClock:
    """A Clock."""

    def now_ms(self) -> int:
        """The wall clock, epoch milliseconds UTC."""
        return time.time_ns() // 1_000_000

    def both(self) -> tuple[float, int]:
        """`monotonic` and `now_ms` of one moment."""
        return time.monotonic(), time.time_ns() // 1_000_000  # noqa: TID251 - this is the Clock

    monotonic = staticmethod(time.monotonic)  # noqa: TID251 - this is the Clock
    """Seconds that never jump."""


class ThreadClocks:
    """A Processor."""

    def __init__(self, hits_thread: int) -> None:
        """Knows the thread (`threading.Thread.ident`) that answers hits; it must live as long."""
        self._hits_clock = None if sys.platform == "darwin" else time.pthread_getcpuclockid(hits_thread)

    def hits_seconds(self) -> float:
        """By the thread that answers hits; 0 where the system does not say."""
        return 0.0 if self._hits_clock is None else time.clock_gettime(self._hits_clock)

    def loop_seconds(self) -> float:
        """By the thread that asks."""
        return time.thread_time()
