"""The connections to the cloud: kept, healed, and never another customer's."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from entitlements.domain.errors import Unreachable, Untrusted
from entitlements.upstream.exchange import Exchange
from entitlements.upstream.proxies import Proxies
from entitlements.upstream.transport import RENEW_SECONDS, CloudTransport
from tests.fakes import FakeClock
from tests.upstream.clouds import Cloud, a_proxy, an_answer
from tests.upstream.parts import a_share, a_transport, an_identity

GOOD = an_answer(b'{"data": {"a": 1}}')


def echo(head: bytes) -> bytes:
    """The path that was asked for."""
    return an_answer(head.split(b" ")[1])


@pytest.fixture
async def transport() -> AsyncIterator[CloudTransport]:
    async with a_transport(an_identity("key")) as transport:
        yield transport


async def get(transport: CloudTransport, url: str) -> bytes:
    answer = await transport.ask("GET", url)
    try:
        return b"".join([chunk async for chunk in answer.chunks()])
    finally:
        await answer.close()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """One that is trusted here, by SSL_CERT_FILE."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority


def serving(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_an_idle_connection_serves_again_until_the_cloud_closes_it(
    transport: CloudTransport, authority: trustme.CA, *, is_tls: bool
) -> None:
    """No request is lost on a connection that was closed meanwhile, a write neither."""
    async with Cloud(echo).listening(serving(authority) if is_tls else None) as cloud:
        url = f"{'https' if is_tls else 'http'}://127.0.0.1:{cloud.port}"
        answers = [await get(transport, f"{url}/{number}") for number in range(3)]
        opened_before = cloud.connections
        cloud.abort()
        await asyncio.sleep(0)  # the transports close in the loop's next turn
        answer = await transport.ask("POST", f"{url}/write", body=b"{}")
        await answer.close()

    assert [b"/0", b"/1", b"/2"] == answers
    assert 1 == opened_before
    assert 2 == cloud.connections


async def test_who_asks_is_answered_and_cookies_are_not_kept(transport: CloudTransport) -> None:
    """A cookie for each customer made every request longer, until none was taken any more."""
    answer = an_answer(b"", "Set-Cookie: a=1", "Set-Cookie: b=2; Path=/")
    async with Cloud(lambda _: answer).listening() as cloud:
        for _ in range(3):
            await get(transport, cloud.url)

    assert all(b"X-API-KEY: key" in head for head in cloud.heads)
    assert not any(b"cookie" in head.lower() for head in cloud.heads)


async def test_what_is_sent_is_what_was_asked_for(transport: CloudTransport) -> None:
    """Of an id nothing is resolved or escaped anew, on the way to a host however that is written."""
    async with Cloud(echo).listening() as cloud:
        path = "/v1/c/a%2F%2E%2E%2f%C3%BC/%2E?resourceId=%2B%20"
        answer = await get(transport, f"HTTP://LOCALHOST:{cloud.port}{path}")

    assert path.encode() == answer
    assert f"Host: localhost:{cloud.port}".encode() in cloud.heads[0]


async def test_no_redirect_is_followed(transport: CloudTransport) -> None:
    async with Cloud(echo).listening() as other, Cloud(lambda _: b"").listening() as cloud:
        cloud.answers = lambda _: an_answer(b"", f"Location: {other.url}/", status="307 Go")
        answer = await transport.ask("GET", cloud.url)
        await answer.close()

    assert 307 == answer.status
    assert [] == other.heads


@pytest.mark.parametrize("surplus", [an_answer(b"of another"), an_answer(b"1") * 3, b"HTTP/1.1 200 OK\r\n"])
async def test_a_surplus_that_comes_with_an_answer_goes_to_nobody(
    transport: CloudTransport, surplus: bytes
) -> None:
    async with Cloud(lambda head: echo(head) + surplus).listening() as cloud:
        answers = [await get(transport, f"{cloud.url}/{number}") for number in range(3)]

    assert [b"/0", b"/1", b"/2"] == answers


@pytest.mark.parametrize("surplus", [an_answer(b"of another"), b"x", b"HTTP/1.1 200 OK\r\n"])
@pytest.mark.parametrize("turns", [0, 10], ids=["unread", "read"])
async def test_a_surplus_that_comes_later_goes_to_nobody(
    transport: CloudTransport, surplus: bytes, turns: int
) -> None:
    """On an idle connection, whether the loop has read it by then or not."""
    async with Cloud(echo).listening() as cloud:
        await asyncio.gather(*(get(transport, f"{cloud.url}/first") for _ in range(4)))
        cloud.say(surplus)
        for _ in range(turns):
            await asyncio.sleep(0)
        answers = [await get(transport, f"{cloud.url}/{number}") for number in range(5)]

    assert [b"/0", b"/1", b"/2", b"/3", b"/4"] == answers


async def test_requests_that_are_given_up_use_up_nothing(transport: CloudTransport) -> None:
    """After an outage the pool held connections that never dialled, and every request failed for good."""
    exchange = Exchange(transport, transport="api", clock=FakeClock(), share=a_share(at_a_time=150))

    async def ask(seconds: float) -> object:
        return await exchange.data("POST", cloud.url, body={}, timeout_seconds=seconds)

    ended: list[object] = []
    async with Cloud(lambda _: b"").listening() as cloud:
        for _ in range(6):
            asked = [asyncio.create_task(ask(0.15)) for _ in range(200)]
            await asyncio.sleep(0.1)
            for task in asked[::2]:
                task.cancel()
            ended += await asyncio.gather(*asked, return_exceptions=True)
        cloud.answers = lambda _: GOOD
        healed = await asyncio.gather(*(ask(5) for _ in range(40)))

    assert {asyncio.CancelledError, Unreachable} <= {type(each) for each in ended}
    assert [{"a": 1}] * 40 == healed


async def test_a_way_that_fails_though_the_cloud_can_be_reached_is_made_anew() -> None:
    """Whatever is wrong with what is kept: here, a connector that lets nobody through any more."""
    now = 0.0
    async with Cloud(echo).listening() as cloud, a_transport(monotonic=lambda: now) as transport:
        assert b"/well" == await get(transport, f"{cloud.url}/well")
        await transport._ways[f"http://127.0.0.1:{cloud.port}"].session.connector.close()  # type: ignore[union-attr]
        for seconds in (0.0, RENEW_SECONDS):
            now += seconds
            with pytest.raises(aiohttp.ClientConnectionError):
                await get(transport, cloud.url)

        assert b"/again" == await get(transport, f"{cloud.url}/again")


async def test_a_look_up_of_the_name_that_hangs_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """All requests to a host share one look-up; one that never ends stopped them for as long."""
    now, asked = 0.0, 0
    loop = asyncio.get_running_loop()
    look_up = loop.getaddrinfo

    async def hang_at_first(*args: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.Event().wait()
        return await look_up(*args, **options)

    monkeypatch.setattr(loop, "getaddrinfo", hang_at_first)
    async with Cloud(echo).listening() as cloud, a_transport(monotonic=lambda: now) as transport:
        url = f"http://localhost:{cloud.port}"
        for seconds in (0.0, RENEW_SECONDS):
            now += seconds
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(get(transport, url), 0.05)

        assert b"/again" == await get(transport, f"{url}/again")


async def test_a_request_under_way_outlives_the_way_it_took() -> None:
    """What is made anew for others must not end what may still be answered."""
    now = 0.0
    async with Cloud(lambda _: b"").listening() as cloud, a_transport(monotonic=lambda: now) as transport:
        cloud.answers = lambda head: an_answer(b"slow")[:-2] if b"slow" in head else b""
        slow = await transport.ask("GET", f"{cloud.url}/slow")
        for seconds in (0.0, RENEW_SECONDS):
            now += seconds
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(get(transport, cloud.url), 0.05)
        assert not transport._ways
        cloud.say(b"ow")
        body = b"".join([chunk async for chunk in slow.chunks()])
        await slow.close()

    assert b"slow" == body


async def test_a_certificate_that_is_not_trusted_is_reported_as_such_until_it_is(
    transport: CloudTransport, authority: trustme.CA, tmp_path: Path
) -> None:
    """It was "could not be reached". An authority that is added is trusted without a restart."""
    stranger = trustme.CA()
    exchange = Exchange(transport, transport="edge", clock=FakeClock(), share=a_share())
    async with Cloud(lambda _: GOOD).listening(serving(stranger)) as cloud:
        url = f"https://127.0.0.1:{cloud.port}"
        with pytest.raises(Untrusted, match=r"certificate that is not trusted .*; set SSL_CERT_FILE"):
            await exchange.data("GET", url, timeout_seconds=5)
        stranger.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

        assert {"a": 1} == await exchange.data("GET", url, timeout_seconds=5)


async def test_a_certificate_of_another_name_is_reported_as_such(
    transport: CloudTransport, authority: trustme.CA
) -> None:
    exchange = Exchange(transport, transport="edge", clock=FakeClock(), share=a_share())
    async with Cloud(lambda _: GOOD).listening(serving(authority, "elsewhere.test")) as cloud:
        with pytest.raises(Untrusted):
            await exchange.data("GET", f"https://127.0.0.1:{cloud.port}", timeout_seconds=5)


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_a_proxy_is_asked_with_what_it_is_to_know(authority: trustme.CA, *, is_tls: bool) -> None:
    """The name is not looked up here, and the key goes through the tunnel only."""
    tls = serving(authority, "cloud.test") if is_tls else None
    async with Cloud(echo).listening(tls) as cloud, a_proxy(cloud.port) as (port, heads):
        environment = {"ALL_PROXY": f"http://me:secret@127.0.0.1:{port}"}
        async with a_transport(an_identity("key"), environment=environment) as transport:
            answer = await get(transport, f"{'https' if is_tls else 'http'}://cloud.test/x")

    assert b"/x" == answer
    assert heads[0].startswith(b"CONNECT cloud.test:443 " if is_tls else b"GET http://cloud.test/x ")
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0" in heads[0]
    assert not is_tls or b"key" not in heads[0]


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_this_machine_is_never_asked_by_way_of_a_proxy(variable: str) -> None:
    environment = {variable: "http://127.0.0.1:1"}
    async with Cloud(echo).listening() as cloud, a_transport(environment=environment) as transport:
        answer = await get(transport, f"http://localhost:{cloud.port}/x")

    assert b"/x" == answer


async def test_the_machines_own_variables_are_not_read_by_the_library(
    transport: CloudTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours alone reads them: a value that it does not know ended the process."""
    for variable in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "socks5://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "localhost,fd00::/8")
    async with Cloud(echo).listening() as cloud:
        assert b"/x" == await get(transport, f"{cloud.url}/x")


async def test_a_proxy_is_looked_up_once_for_each_host(
    transport: CloudTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks are compared for that, at the price of reading an answer."""
    looked_up: list[str] = []
    monkeypatch.setattr(Proxies, "proxy_of", lambda _, url: looked_up.append(url))
    async with Cloud(echo).listening() as cloud:
        for path in "ab":
            assert f"/{path}".encode() == await get(transport, f"{cloud.url}/{path}")

    assert [cloud.url] == looked_up
