"""The connections to the cloud, by aiohttp.

Nothing waits for a connection here, so there is no place to lose; how many there are is bounded by those who
ask (`shares.py`). Cookies are not kept and no redirect is followed: the key goes nowhere but where it was
meant to.
"""

import asyncio
import logging
import select
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from types import MappingProxyType
from typing import Self, TypeAlias

import aiohttp
from aiohttp.client_reqrep import ClientRequest, ClientResponse
from aiohttp.connector import Connection
from aiohttp.payload import TOO_LARGE_BYTES_BODY
from yarl import URL

from entitlements import metrics
from entitlements.upstream.identity import Identity
from entitlements.upstream.network import Network

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 2.0
"""A connection that takes longer, its name's look-up and TLS included, counts as none."""
KEPT_SECONDS = 15.0
"""An idle connection is kept for so long."""
RENEW_SECONDS = 5.0
"""Where nothing at all was answered for so long, all that is kept for that host is made anew."""
MAX_FIELD_BYTES = 32 * 1024
"""Of one header of an answer."""
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
TURNS_TO_READ = 5
"""Of the loop: what is on a socket is read by then, and if it is TLS's end, the connection is closed."""
MAX_SOILED = 8
"""How many kept connections in a row may turn out to be of no use; a new one comes after them."""


class _SoiledConnection(aiohttp.ClientError):
    """Something came on it that belongs to no request, or its end; it is closed, and nothing was sent."""


class _Request(ClientRequest):
    """Looks at its connection before it is sent.

    The story of a surplus answer: the cloud, or a proxy, answers a request twice. The first answer ends the
    request and its connection is kept; the second one arrives while nobody reads, or has arrived and is not
    yet read. The next request on that connection is another customer's, and its answer would be that surplus.
    So a connection on which anything is to be read is of no use. The end of the connection shows in the same
    way, and sending on one that has ended would lose a request that must not be repeated.
    """

    async def send(self, conn: Connection) -> ClientResponse:
        """See aiohttp; raises _SoiledConnection before anything is sent."""
        transport = conn.transport
        if transport is not None and _has_something_to_read(transport.get_extra_info("socket")):
            if transport.get_extra_info("ssl_object") is None:
                raise _SoiledConnection
            # It may be TLS's own matter, such as a ticket: the loop's next turns read it, and show which.
            for _ in range(TURNS_TO_READ):
                await asyncio.sleep(0)
        protocol = conn.protocol
        if protocol is None or not protocol.is_connected() or protocol.should_close:
            raise _SoiledConnection
        return await super().send(conn)


def _has_something_to_read(sock: socket.socket | None) -> bool:
    descriptor = -1 if sock is None else sock.fileno()
    if descriptor < 0:
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


@dataclass(eq=False, kw_only=True)
class _Way:
    """What is kept for one scheme and host; replaced as a whole."""

    session: aiohttp.ClientSession
    origin: str
    """Of the URLs: scheme and host, as they are on the wire."""
    proxy: str | None
    """Looked up once: that reads addresses and networks, and the variables do not change."""
    users: int = 0
    is_retired: bool = False
    unanswered_since: float | None = None

    async def leave(self) -> None:
        """One user less; the last one of a retired way closes it."""
        self.users -= 1
        if self.is_retired and self.users == 0:
            await self.session.close()


class Answer:
    """What came, with its body still to be read; it must be closed."""

    def __init__(self, answer: ClientResponse, way: _Way) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        """By their names in any case."""
        self._answer = answer
        self._way: _Way | None = way

    @property
    def is_success(self) -> bool:
        """True for the 200s."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the body, as they are on the wire."""
        return self._answer.content.iter_any()

    async def close(self) -> None:
        """Gives the connection back, or closes it where something of the answer was not read."""
        way, self._way = self._way, None
        if way is not None:
            self._answer.release()
            await way.leave()


Headers: TypeAlias = dict[str, str]
SpanOf: TypeAlias = Callable[[str, str, Headers], AbstractContextManager[Callable[[int], None]]]
"""Stands around a request until its answer begins: gets method, URL and headers, to which it may add.

What it gives is called with the answer's status."""


def _unnoted(_: int) -> None:
    """Nobody traces."""


_UNTRACED = nullcontext(_unnoted)


class CloudTransport:
    """Sends requests with the headers of their sender added: the key, and who asks."""

    def __init__(
        self,
        *,
        identity: Identity,
        network: Network,
        monotonic: Callable[[], float],
    ) -> None:
        self.network = network
        self.identity = identity
        self.large = asyncio.Semaphore(1)
        """Held by the one request of all whose answer is large."""
        self.span_of: SpanOf = lambda *_: _UNTRACED
        """Replaced where requests are traced."""
        self._monotonic = monotonic
        self._ways: dict[str, _Way] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def ask(
        self, method: str, url: str, *, headers: Mapping[str, str] = NO_HEADERS, body: bytes | None = None
    ) -> Answer:
        """The beginning of an answer; its time is bounded by the caller, that of connecting here.

        Raises:
            aiohttp.ClientError: there is none.
            OSError: neither.
        """
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        host = f"{scheme}://{host}"
        way = self._ways.get(host)
        if way is None:
            way = self._ways[host] = self._new_way(host)
        way.users += 1
        # Not as the session's own: those would be sent to a proxy as well, the key among them.
        sent = {"Accept-Encoding": "gzip", **self.identity.headers, **headers}
        try:
            with self.span_of(method, url, sent) as note_status:
                answer = await self._send(way, method, f"{slash}{path}", sent, body)
                note_status(answer.status)
        except BaseException as error:
            self._note_unanswered(host, way)
            await way.leave()
            if isinstance(error, ssl.SSLCertVerificationError):
                self.network.trust.refresh()
            if isinstance(error, RuntimeError) and way.session.closed:
                raise aiohttp.ClientConnectionError from error
            raise
        way.unanswered_since = None
        return Answer(answer, way)

    async def _send(
        self, way: _Way, method: str, path: str, headers: Headers, body: bytes | None
    ) -> ClientResponse:
        for left in range(MAX_SOILED, -1, -1):
            try:
                return await way.session.request(
                    method,
                    URL(way.origin + path, encoded=True),
                    headers=headers,
                    data=None if body is None else _body(body),
                    allow_redirects=False,
                    proxy=way.proxy,
                    ssl=self.network.trust.context() if way.origin.startswith("https:") else True,
                )
            except _SoiledConnection:
                if left == 0:
                    raise
        raise AssertionError  # the last turn returns or raises

    def _new_way(self, host: str) -> _Way:
        return _Way(
            origin=str(URL(host)),
            proxy=self.network.proxies.proxy_of(host),
            session=aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                request_class=_Request,
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_SECONDS),
                auto_decompress=False,
                trust_env=False,
                max_field_size=MAX_FIELD_BYTES,
            ),
        )

    def _note_unanswered(self, host: str, way: _Way) -> None:
        """A request ended without an answer; where that is all that happens, the way may be what is wrong."""
        now = self._monotonic()
        if way.unanswered_since is None:
            way.unanswered_since = now
        elif now - way.unanswered_since >= RENEW_SECONDS and self._ways.get(host) is way:
            del self._ways[host]
            way.is_retired = True
            metrics.UPSTREAM_RENEWALS.inc()
            logger.info(
                "upstream connections are opened anew",
                extra={"host": host.partition("://")[2]},
            )

    async def aclose(self) -> None:
        """Closes what is open."""
        ways, self._ways = self._ways, {}
        for way in ways.values():
            await way.session.close()


def _body(content: bytes) -> bytes | BytesIO:
    """What aiohttp writes in pieces where it is large: at once it would keep the loop from others."""
    return BytesIO(content) if len(content) > TOO_LARGE_BYTES_BODY else content
