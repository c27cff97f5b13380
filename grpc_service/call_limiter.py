"""How many calls wait for the cloud at a time, and what is answered or refused unseen because of it.

What memory can answer never waits and is never counted here; neither is health.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from entitlements import metrics
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.service.health import PartState
from grpc_service.causes import STALLED, TOO_MANY, TOO_MANY_STREAMS, UNREADABLE
from grpc_service.errors import TOO_MANY_CALLS, PublicStatus
from grpc_service.methods import Refused

logger = logging.getLogger(__name__)

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""The requests that wait, of reads and of writes each, hold no more; a single one may always wait."""
ROOM_FOR_OTHERS = 0.1
"""This part more may wait of connections that have less than their share of the calls that do."""
TOO_MANY_READS = "too_many_reads"
_MEANING = "Calls are answered."
_MEANING_READS = (
    "As many reads wait for the cloud as SIDECAR_MAX_CONCURRENT_CALLS and their bound in bytes allow; one "
    "more that is not cached is answered by its fallback at once."
)
_MEANING_WRITES = (
    "As many writes wait for the cloud as SIDECAR_MAX_CONCURRENT_CALLS and their bound in bytes allow; one "
    "more is refused with RESOURCE_EXHAUSTED."
)
_MEANING_STALLED = (
    "Calls are answered. Some clients begin calls and send no request, or read no reply, or open streams "
    "without end: theirs are ended. Who they are: the connections to GRPC_PORT with the most streams."
)
STALLED_SHOWN_SECONDS = 60.0
"""So long the state says that calls were ended for their clients."""
_FULL = PublicStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, TOO_MANY_CALLS)
"""Not a `Refused`: an exception that is raised again and again keeps all the frames it came through."""


class WaitingCalls:
    """Calls of one kind that wait for the cloud."""

    def __init__(self, *, max_calls: int, max_bytes: int) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self.count = 0
        self.size_bytes = 0
        self._count_of: Counter[str] = Counter()

    def is_full(self) -> bool:
        """True when no more room is left than what is kept for callers with few calls."""
        return not self._has_room(1, of=1)

    def has_room(self, size_bytes: int, peer: str) -> bool:
        """True when one more call of this connection with a request of this size may wait."""
        if self._has_room(size_bytes, of=1):
            return True
        share = self._max_calls // len(self._count_of.keys() | {peer})
        return self._count_of[peer] < share and self._has_room(size_bytes, of=1 + ROOM_FOR_OTHERS)

    def _has_room(self, size_bytes: int, *, of: float) -> bool:
        if self.count >= self._max_calls * of:
            return False
        return self.count == 0 or self.size_bytes + size_bytes <= self._max_bytes * of

    @contextmanager
    def entered(self, size_bytes: int, peer: str) -> Iterator[None]:
        """While entered, a call waits."""
        self.count += 1
        self.size_bytes += size_bytes
        self._count_of[peer] += 1
        try:
            yield
        finally:
            self.count -= 1
            self.size_bytes -= size_bytes
            self._count_of[peer] -= 1
            if not self._count_of[peer]:
                del self._count_of[peer]


class CallLimiter:
    """The calls of one server that cannot be answered at once; counts what it refuses."""

    def __init__(
        self, *, max_calls: int, monotonic: Callable[[], float], max_bytes: int = MAX_WAITING_BYTES
    ) -> None:
        """Lets as many reads wait at a time, and as many writes.

        Args:
            max_calls: SIDECAR_MAX_CONCURRENT_CALLS.
            monotonic: seconds, for the pauses in the log.
            max_bytes: of their requests.
        """
        self._max_calls = max_calls
        self.reads = WaitingCalls(max_calls=max_calls, max_bytes=max_bytes)
        self.writes = WaitingCalls(max_calls=max_calls, max_bytes=max_bytes)
        self._refused = {UNREADABLE: 0, TOO_MANY: 0, STALLED: 0, TOO_MANY_STREAMS: 0}
        self._stalled_at = -STALLED_SHOWN_SECONDS
        self._monotonic = monotonic
        self._unasked = 0
        self._log = RateLimitedLog(logger, monotonic)

    @contextmanager
    def write(self, size_bytes: int, peer: str) -> Iterator[None]:
        """While entered, a write is under way; raises `Refused` when there are too many."""
        if not self.writes.has_room(size_bytes, peer):
            self.refuse(TOO_MANY)
            raise Refused(_FULL)
        with self.writes.entered(size_bytes, peer):
            yield

    def has_room_for_read(self, size_bytes: int, peer: str) -> bool:
        """True when one more read may wait; counts and logs one that may not."""
        if self.reads.has_room(size_bytes, peer):
            return True
        self._unasked += 1
        self._log.warning(
            TOO_MANY_READS, "answering reads by their fallback at once cause=%s", TOO_MANY_READS
        )
        return False

    def refuse(self, cause: str) -> None:
        """Counts and logs a call that is refused unseen."""
        self._refused[cause] += 1
        metrics.GRPC_REFUSED.labels(cause).inc()
        self._log.warning(cause, "rejecting calls cause=%s", cause)

    def ended(self, cause: str, count: int) -> None:
        """Counts and logs calls that the engine ended or refused, from any thread."""
        if cause == TOO_MANY:
            self.refuse(cause)
            return
        self._refused[cause] += count
        self._stalled_at = self._monotonic()
        metrics.GRPC_REFUSED.labels(cause).inc(count)
        self._log.warning(cause, "ending calls that wait for their clients cause=%s count=%s", cause, count)

    def state(self) -> PartState:
        """For people."""
        problem, meaning = None, _MEANING
        if self._monotonic() - self._stalled_at < STALLED_SHOWN_SECONDS:
            problem, meaning = STALLED, _MEANING_STALLED
        if self.writes.is_full():
            problem, meaning = TOO_MANY, _MEANING_WRITES
        if self.reads.is_full():
            problem, meaning = TOO_MANY_READS, _MEANING_READS
        return PartState(
            problem=problem,
            meaning=meaning,
            details={
                "calls_under_way": self.reads.count + self.writes.count,
                "reads_waiting": self.reads.count,
                "writes_waiting": self.writes.count,
                "max_calls": self._max_calls,
                "answered_unasked": self._unasked,
                "refused": dict(self._refused),
            },
        )
