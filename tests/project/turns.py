"""Turns of the event loop, for what announces no event."""

import asyncio
from collections.abc import Callable


async def until(is_so: Callable[[], bool], *, seconds: float = 5.0) -> None:
    """Gives others their turn until it is so."""
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0)
