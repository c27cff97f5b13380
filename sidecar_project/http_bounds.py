"""What one HTTP connection may cost before anybody has logged in: bytes, time, and a place among others.

Daphne holds a request whole before it asks anybody, Twisted lets each byte buy a connection another minute,
and neither counts connections. Their requests also know headers that are not meant for strangers here.
To be imported by way of `sidecar_project.http_server`, which loads both as they are meant to be.
"""

# mypy: disable-error-code="no-untyped-call, override"
# Twisted's classes are half typed, and mypy takes what a subclass inherits for its own.

import io
import logging
from collections import defaultdict
from errno import EAGAIN
from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from twisted.web.http import HTTPChannel

from entitlements import metrics
from entitlements.clock import SystemClock
from entitlements.listener import EXHAUSTED
from entitlements.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)
_log = RateLimitedLog(logger, SystemClock().monotonic)

MAX_BODY_BYTES = 128 * 1024
"""A longer body is refused before it is read: the longest form of the admin sends a fifth of it."""
MAX_CONNECTIONS = 256
"""One more closes one of whoever has most, so that a probe always finds a place, and time to ask."""
REQUEST_SECONDS = 10
"""A request has arrived whole so soon after its first byte, the first one after the connection was made."""
IDLE_SECONDS = 60
"""Between two requests; scrapers keep their connection."""
ABORT_SECONDS = 5
"""Who does not take what is left to send is cut off."""
LINGER_SECONDS = 2
"""A refusal can be read for so long: closing at once would reset it away where the body still comes."""
REST_SECONDS = 1
"""No connection is taken for so long, where no file descriptor is left."""
MAX_LINGER_BYTES = 1024 * 1024
"""So much of a refused body is thrown away meanwhile."""
_NOT_FROM_STRANGERS = (
    b"Daphne-Root-Path",  # would move every link, redirect and cookie of the pages to another path
    b"Upgrade",  # nothing here speaks WebSocket: without it, daphne answers as HTTP allows
)
_TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def refused(cause: str, sentence: str) -> None:
    """Counts what was refused to a stranger, and logs it once a minute."""
    metrics.HTTP_REFUSED.labels(cause=cause).inc()
    _log.warning(cause, "HTTP port: %s cause=%s", sentence, cause)


class Request(WebRequest):
    """A request whose body is in memory and whose headers are a stranger's."""

    def gotLength(self, _length: int | None) -> None:  # noqa: N802 - Twisted's name
        """Twisted makes a temporary file for what is long or has no length: here nothing is long."""
        self.content = io.BytesIO()

    def process(self) -> Any:
        """Hands it to the application, without what only a proxy of ours could say."""
        for name in _NOT_FROM_STRANGERS:
            self.requestHeaders.removeHeader(name)
        return super().process()


class Channel(HTTPChannel):
    """One connection. It is idle, or reads one request, or waits for the answer to it."""

    abortTimeout = ABORT_SECONDS  # noqa: N815 - Twisted's name
    factory: "Factory"
    transport: Any
    callLater: Any  # noqa: N815
    _body_bytes = 0
    _is_idle = False
    _is_refused = False

    def connectionMade(self) -> None:  # noqa: N802
        """Takes a place; the first request is due."""
        super().connectionMade()
        self.factory.connected(self)
        self.setTimeout(REQUEST_SECONDS)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        """Gives the place back."""
        self.factory.disconnected(self)
        super().connectionLost(reason)

    @property
    def address(self) -> str:
        """Of whoever made the connection."""
        return str(getattr(self.transport.getPeer(), "host", ""))

    @property
    def waits_for_answer(self) -> bool:
        """True while the application has a request of it: its own bounds hold then."""
        return bool(self._handlingRequest and self.requests)

    def resetTimeout(self) -> None:  # noqa: N802
        """Bytes buy no time: a header that drips is cut as one that never comes."""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Reads on; the first byte after a pause begins a request, and its time."""
        if self._is_refused:
            self._body_bytes += len(data)
            if self._body_bytes > MAX_LINGER_BYTES:
                self.transport.abortConnection()
            return
        if self._is_idle:
            self._is_idle = False
            self.setTimeout(REQUEST_SECONDS)
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:  # noqa: N802
        """Refuses what announces that it is too long; before `Expect: 100-continue` is answered."""
        if self.length is not None and self.length > MAX_BODY_BYTES:
            self._refuse()
        else:
            super().allHeadersReceived()

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802
        """Refuses what becomes too long: chunks announce no length."""
        if not self._handlingRequest:
            self._body_bytes += len(data)
            if self.length is None and self._body_bytes > MAX_BODY_BYTES:
                self._refuse()
        if not self._is_refused:
            super().rawDataReceived(data)

    def requestDone(self, request: Any) -> None:  # noqa: N802
        """Idle again, unless the next request is there already."""
        self._body_bytes = 0
        super().requestDone(request)
        if not self.requests:
            self._is_idle = True
            self.setTimeout(IDLE_SECONDS if self.persistent else ABORT_SECONDS)
            self.factory.rested(self)

    def timeoutConnection(self) -> None:  # noqa: N802
        """Ends a connection whose time is over."""
        if not self._is_idle and not self._is_refused:
            refused("too_slow", "a request did not arrive in time")
        super().timeoutConnection()

    def _refuse(self) -> None:
        self._is_refused = True
        refused("too_large", "a body was too long")
        self.transport.write(_TOO_LARGE)
        self.setTimeout(LINGER_SECONDS)


class Factory(HTTPFactory):
    """Makes the connections, and has few of them at a time."""

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self._open: dict[Channel, None] = {}
        """Those open, the one that has done nothing for longest first."""

    def buildProtocol(self, _address: Any) -> Channel:  # noqa: N802
        """One connection of ours."""
        channel = Channel()
        channel.factory = self
        channel.requestFactory = Request
        channel.callLater = self.reactor.callLater
        return channel

    def connected(self, channel: Channel) -> None:
        """Gives it a place, another's if there is none."""
        self._open[channel] = None
        if len(self._open) > MAX_CONNECTIONS:
            surplus = self._surplus() or channel
            refused("too_many_connections", "one more connection came than may be open")
            self.disconnected(surplus)
            surplus.transport.abortConnection()

    def _surplus(self) -> Channel | None:
        """Of the address with the most connections that wait for no answer, the one idle for longest."""
        by_address: dict[str, list[Channel]] = defaultdict(list)
        for each in self._open:
            if not each.waits_for_answer:
                by_address[each.address].append(each)
        return max(by_address.values(), key=len)[0] if by_address else None

    def rested(self, channel: Channel) -> None:
        """It has just been answered."""
        if self._open.pop(channel, channel) is None:
            self._open[channel] = None

    def disconnected(self, channel: Channel) -> None:
        """Its place is free."""
        self._open.pop(channel, None)


class Listener:
    """Takes the place of a listening socket of Twisted's: where no file descriptor is left, it rests.

    Twisted keeps a spare one to close whoever comes, and asks again without end once another has taken that.
    """

    def __init__(self, port: Any) -> None:
        self._port = port
        self._socket = port.socket

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def accept(self) -> Any:
        """A connection; one that cannot be held waits for `REST_SECONDS`."""
        try:
            return self._socket.accept()
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            refused("no_file_descriptor", "no file descriptor is left")
            self._port.stopReading()
            self._port.reactor.callLater(REST_SECONDS, self._resume)
            raise BlockingIOError(EAGAIN, "it rests") from error

    def _resume(self) -> None:
        if self._port.connected:  # else it was closed meanwhile
            self._port.startReading()
