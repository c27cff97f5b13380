"""Bulkheads: so many requests of one kind at a time, so that what hangs of one kind never stops another.

The HTTP client itself never makes a request wait: whoever waits does so here, for a bounded time, in a
bounded place, and leaves it when its caller goes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from entitlements import metrics
from entitlements.domain.errors import Busy

READS_AT_A_TIME = 64
"""At the Edge, and as many at the API, unless SIDECAR_FETCH_CONCURRENCY says otherwise."""
WRITES_AT_A_TIME = 64
"""Reports of callers who wait for the answer."""
DELIVERIES_AT_A_TIME = 8
"""Batches of the outbox."""
MAX_WAITING = 1000
"""How many more requests of one kind may wait for one of these."""


class Share:
    """The requests of one kind over one transport."""

    def __init__(self, kind: str, *, transport: str, at_a_time: int) -> None:
        """Lets so many through at a time; the kind is a name for metrics."""
        self.kind = kind
        self._transport = transport
        self._slots = asyncio.Semaphore(at_a_time)
        self._waiting = 0

    @asynccontextmanager
    async def slot(self, *, within_seconds: float) -> AsyncIterator[None]:
        """While entered, one of them is taken.

        Raises:
            Busy: none became free within the time, or too many wait already. The cloud was not asked.
        """
        if self._slots.locked():
            await self._wait(within_seconds)
        else:
            await self._slots.acquire()
        try:
            yield
        finally:
            self._slots.release()

    async def _wait(self, within_seconds: float) -> None:
        if self._waiting >= MAX_WAITING:
            raise Busy(self._transport)
        self._note(+1)
        try:
            async with asyncio.timeout(within_seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Busy(self._transport) from error
        finally:
            self._note(-1)

    def _note(self, step: int) -> None:
        self._waiting += step
        metrics.UPSTREAM_WAITING.labels(self.kind).set(self._waiting)
