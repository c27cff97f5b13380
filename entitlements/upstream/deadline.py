"""A time-out that a busy loop of ours does not shorten: what kept us from reading is not the cloud's fault.

The story of an answer that was there in time. A crowd arrives, and for a second the loop turns only once.
Meanwhile the answer comes, and the time is over. In the loop's next turn both are due: the socket's bytes are
read, which wakes whoever waits for them in the turn after, and the time-out cancels them in this one. So a
time-out that rings late gives as much time again as it is late, and rings anew.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LATE_SECONDS = 0.01
"""A loop with little to do is not later than this."""
MOST_GRANTED = 1.0
"""Of its own length a time-out is prolonged by no more than this part."""


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """While entered, so much time may pass, and what the loop was late; raises TimeoutError."""
    loop = asyncio.get_running_loop()
    to_grant = seconds * MOST_GRANTED
    ringing: asyncio.TimerHandle

    def ring(due: float) -> None:
        nonlocal ringing, to_grant
        late = loop.time() - due
        if late <= LATE_SECONDS or to_grant <= 0:
            limit.reschedule(due)
            return
        granted = min(late, to_grant)
        to_grant -= granted
        due += late + granted
        ringing = loop.call_at(due, ring, due)

    async with asyncio.timeout(None) as limit:
        due = loop.time() + seconds
        ringing = loop.call_at(due, ring, due)
        try:
            yield
        finally:
            ringing.cancel()
