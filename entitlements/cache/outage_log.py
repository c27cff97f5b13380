"""Log lines for what persists: one when it changes, then at most one a minute, with a count."""

import logging
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 60.0

Monotonic = Callable[[], float]


class RepeatedWarning:
    """One sentence that is not said again within a minute, however often its cause comes back."""

    def __init__(self, logger: logging.Logger, sentence: str, monotonic: Monotonic) -> None:
        self._logger = logger
        self._sentence = sentence
        self._monotonic = monotonic
        self._count = 0
        self._silent_until = float("-inf")

    def note(self, cause: object) -> None:
        """It happened; says so, with how often since it was said last, unless that was just now."""
        self._count += 1
        if self._monotonic() < self._silent_until:
            return
        self._logger.warning("%s cause=%s count=%d", self._sentence, cause, self._count)
        self._count = 0
        self._silent_until = self._monotonic() + SECONDS_BETWEEN_LINES

    def forget(self) -> None:
        """What happens next is new: it is said at once."""
        self._count = 0
        self._silent_until = float("-inf")


class OutageLog:
    """An outage: said when it begins and when it ends, and once a minute between."""

    def __init__(self, logger: logging.Logger, *, down: str, up: str, monotonic: Monotonic) -> None:
        self._logger = logger
        self._down = RepeatedWarning(logger, down, monotonic)
        self._up = up
        self._is_down = False

    def failed(self, cause: object, *, is_down: bool) -> None:
        """One thing failed; `is_down` when that is an outage by now."""
        if is_down and not self._is_down:
            self._down.forget()
        if is_down:
            self._is_down = True
            self._down.note(cause)

    def succeeded(self) -> None:
        """One thing went well: an outage is over."""
        if self._is_down:
            self._is_down = False
            self._logger.warning("%s", self._up)
