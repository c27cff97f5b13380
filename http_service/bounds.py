"""What one connection to SIDECAR_HTTP_PORT may cost: bytes, time, and a place among others.

uvicorn reads a head of any length for any time, and waits for ever for who does not read its answer.
"""

import asyncio
import logging

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from entitlements import metrics
from entitlements.clock import SystemClock
from entitlements.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)
_log = RateLimitedLog(logger, SystemClock().monotonic)

MAX_CONNECTIONS = 1024
"""One more is closed at once."""
MAX_HEAD_BYTES = 32 * 1024
"""Of the request line and headers; a GET of the Connect protocol has its message there."""
REQUEST_SECONDS = 10.0
"""A request has arrived whole so soon after its first byte, the first one after the connection was made."""
IDLE_SECONDS = 60
"""Between two requests."""
UNREAD_SECONDS = 10.0
"""Who does not take what is left to send is cut off."""


def refused(cause: str) -> None:
    """Counts what was refused to a stranger, and logs it once a minute."""
    metrics.HTTP_API_REFUSED.labels(cause).inc()
    _log.warning(cause, "SIDECAR_HTTP_PORT: refused cause=%s", cause)


class BoundedProtocol(HttpToolsProtocol):
    """One connection. It is idle, or reads one request, or waits for the answer to it."""

    _head_bytes = 0
    _reads_head = True
    _due: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Takes a place; the first request is due."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._cut("too_many_connections")
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gives the place back."""
        _cancel(self._due)
        _cancel(self._unread)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads on; the first byte after a pause begins a request, and its time."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        if self._due is None and (cycle is None or cycle.response_complete):
            self._begin()
        if self._reads_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._reads_head and self._head_bytes > MAX_HEAD_BYTES:
            self._cut("head_too_large")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._reads_head = True

    def on_headers_complete(self) -> None:
        """The head has arrived."""
        self._reads_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request has arrived."""
        self._reads_head = True
        _cancel(self._due)
        self._due = None
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The answer is not taken."""
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self._cut, "unread_answer")

    def resume_writing(self) -> None:
        """It is taken again."""
        _cancel(self._unread)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is counted; uvicorn's own line for each is left out."""
        refused("not_http")
        super().send_400_response(msg)

    def _begin(self) -> None:
        self._due = self.loop.call_later(REQUEST_SECONDS, self._cut, "slow_request")

    def _cut(self, cause: str) -> None:
        refused(cause)
        self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
