"""An outage in the log: when it begins, when it ends, and once a minute between."""

import logging
from collections.abc import Callable

from entitlements.rate_limited_log import RateLimitedLog

_OUTAGE = "outage"


class OutageLog:
    """Tells of one outage after another."""

    def __init__(self, logger: logging.Logger, *, down: str, up: str, monotonic: Callable[[], float]) -> None:
        self._logger = logger
        self._occasional = RateLimitedLog(logger, monotonic)
        self._down = down
        self._up = up
        self._is_down = False

    def failed(self, cause: object, *, is_down: bool, error: str | None = None) -> None:
        """One thing failed; `is_down` when that is an outage by now, `error` what to log of it beside."""
        if not is_down:
            return
        if not self._is_down:
            self._is_down = True
            self._occasional.forget(_OUTAGE)
        self._occasional.warning(_OUTAGE, "%s cause=%s", self._down, cause, cause=error)

    def succeeded(self) -> None:
        """One thing went well: an outage is over."""
        if self._is_down:
            self._is_down = False
            self._logger.warning("%s", self._up)
