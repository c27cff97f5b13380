"""Where log lines leave the process: a queue, and one thread that writes it to stdout.

A pipe that nobody reads takes no more after 64 KiB, and whoever writes to it then waits for ever: the event
loop would, and with it every call and probe. Here only the writing thread waits. Lines past the bound are
dropped and counted, and the log itself says how many when it flows again.
"""

import logging
import os
import select
import threading
from collections import deque

MAX_QUEUED_BYTES = 4 * 1024 * 1024
"""So much waits to be written."""
LAST_LINES_SECONDS = 1.0
"""The end of the process waits so long for what is still queued."""
STDOUT = 1
_logger = logging.getLogger(__name__)


def _count_dropped() -> None:
    # Logging is set up before it is known where this process counts (worker_metrics.py).
    from entitlements import metrics  # noqa: PLC0415

    metrics.LOG_LINES_DROPPED.inc()


class LogOutput:
    """Writes lines to a file descriptor; `write` is for any thread and never waits for a reader."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        """Of what is queued or being written."""
        self._dropped = 0
        """Since the last time that this was logged."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Queues one line, or drops it where too much waits."""
        data = f"{line}\n".encode(errors="backslashreplace")
        with self._changed:
            if self._bytes + len(data) > MAX_QUEUED_BYTES:
                self._dropped += 1
                _count_dropped()
                return
            self._lines.append(data)
            self._bytes += len(data)
            if self._thread is None:  # not before: a process that only forks or prints needs none
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float = LAST_LINES_SECONDS) -> None:
        """Waits until all is written, but no longer than that."""
        with self._changed:
            self._changed.wait_for(lambda: self._bytes == 0, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                line = self._lines.popleft()
            is_written = self._write(line)
            with self._changed:
                self._bytes -= len(line)
                dropped, self._dropped = (self._dropped, 0) if is_written else (0, self._dropped + 1)
                self._changed.notify_all()
            if not is_written:
                _count_dropped()
            if dropped:
                _logger.warning("log lines were dropped count=%d: stdout was not read", dropped)

    def _write(self, data: bytes) -> bool:
        """False where nobody is left to read."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # somebody made the descriptor one that does not wait
                select.select((), (self._descriptor,), ())
            except OSError:
                return False
        return True


OUTPUT = LogOutput(STDOUT)


class QueueingHandler(logging.Handler):
    """Logging's way to `LogOutput`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Queues the record's line."""
        try:
            OUTPUT.write(self.format(record))
        except Exception:  # noqa: BLE001 - as logging's own handlers: a line that cannot be made ends nothing
            self.handleError(record)

    def flush(self) -> None:
        """Logging calls this when the process ends."""
        OUTPUT.flush()
