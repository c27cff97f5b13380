"""Waiting until something has happened, so that nobody has to sleep and look again."""

import asyncio
from collections.abc import Callable


class Changed:
    """Wakes those who wait for a condition whenever its owner says that something has changed."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Make every waiter look at its condition again."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, condition: Callable[[], bool], *, timeout_seconds: float) -> None:
        """Return as soon as the condition holds.

        Raises:
            TimeoutError: It did not hold in time.
        """
        async with asyncio.timeout(timeout_seconds):
            while not condition():
                waiter = asyncio.get_running_loop().create_future()
                self._waiting.add(waiter)
                try:
                    await waiter
                finally:
                    self._waiting.discard(waiter)
