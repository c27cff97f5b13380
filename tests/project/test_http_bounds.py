"""What one HTTP connection may cost, on a transport in memory and a clock of its own."""

from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from entitlements import metrics
from sidecar_project.http_server import HttpServer, http_bounds
from tests.eventually import eventually

Bounds = http_bounds
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


class Port:
    """The HTTP port without a socket: what a stranger sends, and what comes back."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        server = HttpServer(self._answer, endpoints=["none"], http_timeout=30, server_name="")
        server.connections = {}
        self.clock = Clock()
        self.factory = Bounds.Factory(server)
        self.factory.reactor = self.clock  # type: ignore[assignment]

    def connect(self, address: str = "192.0.2.1") -> tuple[Bounds.Channel, StringTransport]:
        """One connection from there."""
        transport = StringTransport(peerAddress=IPv4Address("TCP", address, 1))
        channel = self.factory.buildProtocol(None)
        channel.makeConnection(transport)  # type: ignore[no-untyped-call]
        return channel, transport

    async def _answer(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        body, has_more = b"", True
        while has_more:
            message = await receive()
            body, has_more = body + message["body"], message["more_body"]
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def port() -> Port:
    return Port()


async def answered(port: Port, requests: int = 1) -> None:
    """Returns once so many requests were answered."""
    await eventually(lambda: len(port.bodies) >= requests)


def refusals(cause: str) -> float:
    return float(metrics.HTTP_REFUSED.labels(cause=cause)._value.get())


@pytest.mark.parametrize("more", [b"", b"Expect: 100-continue\r\n"])
async def test_a_body_that_is_too_long_is_refused_before_it_is_read(port: Port, more: bytes) -> None:
    """1.2 GB were held in memory, without a login."""
    channel, transport = port.connect()
    before = refusals("too_large")

    channel.dataReceived(
        b"POST /admin/login/ HTTP/1.1\r\nHost: x\r\n" + more + b"Content-Length: 1200000000\r\n\r\n"
    )

    assert transport.value().startswith(b"HTTP/1.1 413 ")
    assert [] == port.scopes
    assert 1 == refusals("too_large") - before
    channel.dataReceived(b"x" * (Bounds.MAX_LINGER_BYTES + 1))
    assert transport.disconnected


async def test_a_body_without_a_length_is_refused_where_it_becomes_too_long(port: Port) -> None:
    channel, transport = port.connect()
    channel.dataReceived(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"

    for _ in range(Bounds.MAX_BODY_BYTES // 0x1000 + 1):
        channel.dataReceived(piece)

    assert transport.value().startswith(b"HTTP/1.1 413 ")
    assert [] == port.scopes


async def test_a_body_within_the_bound_arrives(port: Port) -> None:
    body = b"x" * Bounds.MAX_BODY_BYTES
    channel, _ = port.connect()

    channel.dataReceived(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await answered(port)

    assert [body] == port.bodies


@pytest.mark.parametrize(
    "begun", [b"", b"GET / HTTP/1.1\r\nX-Slow: ", b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n"]
)
async def test_what_drips_is_cut_in_time(port: Port, begun: bytes) -> None:
    """Each byte bought another minute."""
    channel, transport = port.connect()
    channel.dataReceived(begun)

    for _ in range(Bounds.REQUEST_SECONDS):
        assert not transport.disconnecting
        channel.dataReceived(b"x")
        port.clock.advance(1)

    assert transport.disconnecting


async def test_a_connection_may_rest_between_requests(port: Port) -> None:
    """A scraper keeps its own; what follows has its whole time again."""
    channel, transport = port.connect()
    channel.dataReceived(GET)
    await answered(port)

    port.clock.advance(Bounds.IDLE_SECONDS - 1)
    channel.dataReceived(GET[:-2])
    port.clock.advance(Bounds.REQUEST_SECONDS - 1)
    channel.dataReceived(GET[-2:])
    await answered(port, 2)

    assert not transport.disconnecting
    port.clock.advance(Bounds.IDLE_SECONDS)
    assert transport.disconnecting


async def test_one_connection_more_costs_whoever_has_most_the_one_that_rests_longest(port: Port) -> None:
    """The probe of another address is there since the beginning."""
    _, probe = port.connect("192.0.2.9")
    flood = [port.connect()[1] for _ in range(Bounds.MAX_CONNECTIONS - 1)]

    _, newest = port.connect()

    assert [flood[0]] == [each for each in (probe, *flood, newest) if each.disconnected]


async def test_a_request_that_waits_for_its_answer_keeps_its_place(port: Port) -> None:
    channel, asking = port.connect()
    channel.dataReceived(GET)  # its application has had no turn yet
    others = [port.connect()[1] for _ in range(Bounds.MAX_CONNECTIONS)]

    assert not asking.disconnected
    assert others[0].disconnected


async def test_what_only_a_proxy_of_ours_could_say_is_not_taken_from_strangers(port: Port) -> None:
    """A root path moved every link; an upgrade to WebSocket ended in a traceback."""
    channel, transport = port.connect()

    channel.dataReceived(
        b"GET / HTTP/1.1\r\nHost: x\r\nDaphne-Root-Path: /evil\xff\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
    )
    await answered(port)

    assert ["http", ""] == [port.scopes[0][name] for name in ("type", "root_path")]
    assert transport.value().startswith(b"HTTP/1.1 200 ")
