"""One way to wait for what announces no event."""

import asyncio
import inspect
import time
from collections.abc import Callable
from itertools import count

MOST_SECONDS = 60.0
"""No test is about this bound: a busy machine does not reach it."""
FIRST_TURNS = 100
"""So often it is asked at the next turn of the loop, which is enough where it happens on the same one."""
PAUSE_SECONDS = 0.01


async def eventually(is_so: Callable[[], object]) -> float:
    """Seconds until it is so; `is_so` answers at once, or is awaited."""
    started = time.monotonic()
    async with asyncio.timeout(MOST_SECONDS):
        for turn in count():
            answer = is_so()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                break
            await asyncio.sleep(0 if turn < FIRST_TURNS else PAUSE_SECONDS)
    return time.monotonic() - started
