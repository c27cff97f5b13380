"""A sample of the reads that are answered, while somebody listens; nothing is paid while nobody does."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from entitlements.domain.ports import Clock

TAKE_SECONDS = 0.1
MAX_WAITING = 100
"""So many reads are taken between two looks, 1,000 a second; one more is dropped and counted."""
MAX_READ_BYTES = 256 * 1024
"""A read with more bytes, request and reply together, is dropped: what waits has 25 MiB at most."""
MAX_SECONDS = 3600.0
"""A recording takes no longer."""


class RecordedRead(NamedTuple):
    """A question, and what was answered."""

    at_ms: int
    """Since the recording began."""
    method: str
    request: bytes
    reply: bytes


Offer = Callable[[str, bytes, bytes], None]
"""Told of a read that was answered: method, request, reply; from any thread."""
Tap = Callable[[Offer], AbstractContextManager[None]]
"""While entered, every read that is answered is offered."""


class Busy(Exception):
    """Somebody records already."""


class Recorder:
    """The recording of one process; belongs to one event loop, only what is offered comes from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tap: Tap | None = None
        self._is_recording = False
        self.dropped = 0
        """Reads that were not taken by the recording under way, or by the last one."""

    def attach(self, tap: Tap) -> None:
        """Reads can be recorded from now on."""
        self._tap = tap

    async def record(self, *, seconds: float) -> AsyncGenerator[Sequence[RecordedRead], None]:
        """What is answered, at each look, for so long; an empty look is yielded as well.

        Raises:
            Busy: another recording is under way, or nothing is served yet.
        """
        if self._is_recording or self._tap is None:
            raise Busy
        self._is_recording, self.dropped = True, 0
        taken: deque[RecordedRead] = deque()
        began = self._clock.monotonic()

        def offer(method: str, request: bytes, reply: bytes) -> None:
            if len(taken) >= MAX_WAITING or len(request) + len(reply) > MAX_READ_BYTES:
                self.dropped += 1
                return
            at_ms = round((self._clock.monotonic() - began) * 1000)
            taken.append(RecordedRead(at_ms, method, request, reply))

        try:
            with self._tap(offer):
                while self._clock.monotonic() - began < min(seconds, MAX_SECONDS):
                    await asyncio.sleep(TAKE_SECONDS)
                    yield [taken.popleft() for _ in range(len(taken))]
        finally:
            self._is_recording = False
