"""The end of the process when something does not end by itself.

A look-up of a name cannot be cancelled: the thread that waits for it holds up the interpreter's end, for 40 s
where no name server answers. Nothing that is left by then is worth that: what is not delivered is kept.
"""

import logging
import os
import threading

from sidecar_project.log_output import OUTPUT

logger = logging.getLogger(__name__)

LEAST_SECONDS = 3.0
"""To close what is open takes a moment, however short the grace period is."""
LAST_LINE_SECONDS = 0.2
"""The line that says so has so long to be read."""


class LastResort:
    """Ends the process after a time, by a thread that waits for nobody."""

    def __init__(self) -> None:
        self._exit_code = 1

    def start(self, seconds: float) -> None:
        """From now on the process has so long to end by itself."""
        timer = threading.Timer(max(seconds, LEAST_SECONDS), self._end)
        timer.daemon = True
        timer.name = "last-resort"
        timer.start()

    def calls_ended(self) -> None:
        """Every call is answered: however the process ends from now on, it has drained."""
        self._exit_code = 0

    def _end(self) -> None:
        waiting = sorted(thread.name for thread in threading.enumerate() if not thread.daemon)
        logger.warning(
            "the grace period is over: the process ends without waiting for %s", ", ".join(waiting)
        )
        OUTPUT.flush(LAST_LINE_SECONDS)
        os._exit(self._exit_code)
