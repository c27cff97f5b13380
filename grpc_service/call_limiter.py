"""How much is taken in at a time, and what is refused without looking at what it asks."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from entitlements import metrics
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.service.health import PartState
from grpc_service.errors import TOO_MANY_CALLS, PublicStatus
from grpc_service.methods import Refused

logger = logging.getLogger(__name__)

UNREADABLE = "unreadable"
TOO_MANY = "too_many_calls"
_MEANING = "Calls are answered."
_MEANING_FULL = (
    "As many calls as SIDECAR_MAX_CONCURRENT_CALLS allows wait for the cloud; one more is refused with "
    "RESOURCE_EXHAUSTED."
)
_FULL = Refused(PublicStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, TOO_MANY_CALLS))


class CallLimiter:
    """The calls of one server that cannot be answered at once; counts what it refuses."""

    def __init__(self, *, max_calls: int, monotonic: Callable[[], float]) -> None:
        """Takes in as many calls at a time.

        Args:
            max_calls: SIDECAR_MAX_CONCURRENT_CALLS.
            monotonic: seconds, for the pauses in the log.
        """
        self._max_calls = max_calls
        self._under_way = 0
        self._refused = {UNREADABLE: 0, TOO_MANY: 0}
        self._log = RateLimitedLog(logger, monotonic)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While entered, a call is under way; raises `Refused` when there are too many."""
        if self._under_way >= self._max_calls:
            self.refuse(TOO_MANY)
            raise _FULL
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def refuse(self, cause: str) -> None:
        """Counts and tells a call that is refused unseen."""
        self._refused[cause] += 1
        metrics.GRPC_REFUSED.labels(cause).inc()
        self._log.warning(cause, "rejecting calls cause=%s", cause)

    def state(self) -> PartState:
        """For people."""
        is_full = self._under_way >= self._max_calls
        return PartState(
            problem=TOO_MANY if is_full else None,
            meaning=_MEANING_FULL if is_full else _MEANING,
            details={
                "calls_under_way": self._under_way,
                "max_calls": self._max_calls,
                "refused": dict(self._refused),
            },
        )
