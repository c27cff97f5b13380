"""A condition that repeats is logged the first time, and then at most once a minute with a count."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

INTERVAL_SECONDS = 60.0
"""The same condition is logged no more often than this (contract/operations.md, Logs)."""


@dataclass(slots=True)
class _Emitted:
    at: float
    suppressed: int = 0


class RateLimitedLog:
    """Lines about conditions, each named by one of a bounded set of names."""

    def __init__(self, logger: logging.Logger, monotonic: Callable[[], float]) -> None:
        self._logger = logger
        self._monotonic = monotonic
        self._emitted: dict[str, _Emitted] = {}

    def error(
        self,
        condition: str,
        message: str,
        *args: object,
        exc_info: BaseException | None = None,
        cause: str | None = None,
    ) -> None:
        """As `warning`, of what a person has to fix."""
        self._emit(logging.ERROR, condition, message, *args, exc_info=exc_info, cause=cause)

    def warning(
        self,
        condition: str,
        message: str,
        *args: object,
        exc_info: BaseException | None = None,
        cause: str | None = None,
    ) -> None:
        """Logs the message, and the error where one is given, unless it was logged within the last minute.

        The cause, or a failure among the arguments, stands under LOG_ERROR_KEY in a JSON line.
        """
        self._emit(logging.WARNING, condition, message, *args, exc_info=exc_info, cause=cause)

    def info(self, condition: str, message: str, *args: object) -> None:
        """As `warning`, of what is as it should be."""
        self._emit(logging.INFO, condition, message, *args)

    def _emit(
        self,
        level: int,
        condition: str,
        message: str,
        *args: object,
        exc_info: BaseException | None = None,
        cause: str | None = None,
    ) -> None:
        now = self._monotonic()
        emitted = self._emitted.get(condition)
        if emitted is not None and now - emitted.at < INTERVAL_SECONDS:
            emitted.suppressed += 1
            return
        suppressed = 0 if emitted is None else emitted.suppressed
        self._emitted[condition] = _Emitted(at=now)
        extra: dict[str, object] = {"condition": condition, "untold": suppressed}
        if cause is not None:
            extra["error"] = cause
        self._logger.log(level, message, *args, exc_info=exc_info, extra=extra)

    def forget(self, condition: str) -> None:
        """What happens next is new: it is logged at once."""
        self._emitted.pop(condition, None)
