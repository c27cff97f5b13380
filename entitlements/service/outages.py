"""How the ways to the cloud fail, for people: as a name, and in the log at once and then once a minute."""

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType

from entitlements.domain.breaker import BreakerState
from entitlements.domain.errors import Offline, Rejected, UpstreamError
from entitlements.domain.ports import Source
from entitlements.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)


class Outages:
    """Of the sources of one process."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._causes: dict[Source, str] = {}
        self._log = RateLimitedLog(logger, monotonic)

    @property
    def causes(self) -> Mapping[Source, str]:
        """How each source failed that did not answer when it was asked last."""
        return MappingProxyType(self._causes)

    def failed(self, source: Source, error: UpstreamError, *, was: BreakerState, now: BreakerState) -> None:
        """A source did not answer, and its circuit was and is now as given."""
        if isinstance(error, Rejected | Offline):
            self._causes.pop(source, None)
            return
        self._causes[source] = error.outcome
        if now is not BreakerState.OPEN:
            return
        if was is BreakerState.CLOSED:
            self._log.forget(source.value)
        self._log.warning(source.value, "circuit breaker opened source=%s: %s", source.value, error)

    def answered(self, source: Source, *, was: BreakerState) -> None:
        """A source answered."""
        self._causes.pop(source, None)
        if was is not BreakerState.CLOSED:
            logger.warning("circuit breaker closed source=%s", source.value)
