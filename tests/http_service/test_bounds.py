"""The listener of SIDECAR_HTTP_PORT on real sockets: what it refuses, and that others are answered on."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from types import SimpleNamespace

import grpc
import httpx
import pytest
from prometheus_client import REGISTRY

from entitlements.domain.token_bucket import Rate
from entitlements.service.change_notifier import ChangeNotifier
from grpc_service.errors import PublicStatus
from grpc_service.methods import Refused
from http_service import app, bounds
from http_service.app import HttpApi
from http_service.messages import Request
from http_service.server import HttpApiServer
from sidecar_project.ports import listen
from tests.eventually import eventually
from tests.fakes import FakeClock
from tests.harness import http_client
from tests.http_service.test_connect import CHECK, Scripted

TOKEN = "a-token-of-the-test"
ORIGIN = "https://app.example.com"
MAX_BODY_BYTES = 100_000


@pytest.fixture
async def scripted() -> Scripted:
    return Scripted()


def api_of(scripted: Scripted, clock: FakeClock) -> HttpApi:
    return HttpApi(
        [scripted.door],
        token=TOKEN,
        origins=[ORIGIN],
        max_body_bytes=MAX_BODY_BYTES,
        monotonic=clock.monotonic,
    )


@pytest.fixture
async def server(scripted: Scripted) -> AsyncIterator[HttpApiServer]:
    server = HttpApiServer(api_of(scripted, FakeClock()), listen("127.0.0.1", 0), changes=ChangeNotifier())
    await server.start()
    yield server
    await server.stop(grace_seconds=0)


@pytest.fixture
async def client(server: HttpApiServer) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = f"http://127.0.0.1:{server.port}"
    async with http_client(base_url=url, headers=headers) as client:
        yield client


def refusals(cause: str) -> float:
    value = REGISTRY.get_sample_value("sidecar_http_api_refused_requests_total", {"cause": cause})
    return value or 0.0


async def sent(server: HttpApiServer, data: bytes) -> bytes:
    """What comes back until the server ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_check_is_answered(client: httpx.AsyncClient) -> None:
    response = await client.post(CHECK, json={"customerId": "c", "featureId": "f"})

    assert 200 == response.status_code
    assert {"hasAccess": True} == response.json()
    assert "memory" == response.headers["trailer-stigg-source"]


async def test_an_empty_message_has_its_type(client: httpx.AsyncClient, scripted: Scripted) -> None:
    """Clients of Connect look at the type first: without one they take the answer for another's."""
    scripted.reply = (b"", ())

    response = await client.post(CHECK, content=b"", headers={"Content-Type": "application/proto"})

    assert 200 == response.status_code
    assert b"" == response.content
    assert "application/proto" == response.headers.get("content-type")


@pytest.mark.parametrize(
    "given", ["", "Bearer another-token-here", f"Basic {TOKEN}", "Bearer", "Bearer \xe9"]
)
async def test_without_the_token_nothing_is_asked(
    client: httpx.AsyncClient, scripted: Scripted, given: str
) -> None:
    response = await client.post(CHECK, json={}, headers={b"Authorization": given.encode("latin-1")})

    assert 401 == response.status_code
    assert "unauthenticated" == response.json()["code"]
    assert "Bearer" == response.headers["www-authenticate"]
    assert [] == scripted.calls


async def test_nothing_else_is_served(client: httpx.AsyncClient) -> None:
    assert 404 == (await client.get("/")).status_code


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        (CHECK, {"Authorization": "Bearer another-token"}, b"{}", 401),
        (CHECK, {"Content-Type": "application/json"}, b"{", 400),
        (CHECK, {"Content-Type": "text/plain"}, b"{}", 415),
        ("/nowhere", {}, b"", 404),
    ],
)
async def test_a_flood_of_mistakes_is_slowed_down(
    path: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
    scripted: Scripted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Past the rate their answers are held back; whoever asks as he must is answered meanwhile."""
    few = Rate(burst=3, per_second=1)
    monkeypatch.setattr(app, "MISTAKES", few)
    pauses, released = [], asyncio.Event()

    async def held(seconds: float) -> None:
        pauses.append(seconds)
        await released.wait()

    monkeypatch.setattr(app, "asyncio", SimpleNamespace(sleep=held))
    clock = FakeClock()
    transport = httpx.ASGITransport(api_of(scripted, clock))
    async with httpx.AsyncClient(transport=transport, base_url="http://sidecar") as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"

        async def mistake() -> int:
            return (await client.post(path, content=body, headers=headers)).status_code

        assert [await mistake() for _ in range(few.burst)] == [status] * few.burst
        counted = refusals("too_many_mistakes")
        slow = asyncio.create_task(mistake())
        await eventually(lambda: bool(pauses))
        good = await client.post(CHECK, json={})
        released.set()

        assert good.status_code == HTTPStatus.OK
        assert await slow == status
        assert pauses == [app.HELD_SECONDS]
        assert refusals("too_many_mistakes") == counted + 1

        clock.advance(1)
        await mistake()
        assert len(pauses) == 1


async def test_a_flag_that_is_not_there_is_an_answer(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application may ask for it as often as it likes."""
    scripted.failure = Refused(PublicStatus(grpc.StatusCode.NOT_FOUND, "no such feature"))
    monkeypatch.setattr(app, "MISTAKES", Rate(burst=0, per_second=0))
    counted = refusals("too_many_mistakes")

    transport = httpx.ASGITransport(api_of(scripted, FakeClock()))
    async with httpx.AsyncClient(transport=transport, base_url="http://sidecar") as client:
        answer = await client.post(CHECK, json={}, headers={"Authorization": f"Bearer {TOKEN}"})

    assert answer.status_code == HTTPStatus.NOT_FOUND
    assert refusals("too_many_mistakes") == counted


async def test_a_named_origin_may_ask_and_no_other(client: httpx.AsyncClient) -> None:
    named = await client.options(CHECK, headers={"Origin": ORIGIN})
    other = await client.options(CHECK, headers={"Origin": "https://evil.example.com"})
    asked = await client.post(CHECK, json={}, headers={"Origin": ORIGIN})

    assert 204 == named.status_code
    assert ORIGIN == named.headers["access-control-allow-origin"]
    assert "access-control-allow-origin" not in other.headers
    assert ORIGIN == asked.headers["access-control-allow-origin"]


@pytest.mark.parametrize("has_length", [True, False])
async def test_a_huge_body_is_refused_unread(
    client: httpx.AsyncClient, scripted: Scripted, *, has_length: bool
) -> None:
    before = refusals("body_too_large")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * (MAX_BODY_BYTES // 2)

    content = b"x" * (MAX_BODY_BYTES + 1) if has_length else chunks()
    response = await client.post(CHECK, content=content, headers={"Content-Type": "application/json"})

    assert 429 == response.status_code
    assert "resource_exhausted" == response.json()["code"]
    assert [] == scripted.calls
    assert before + 1 == refusals("body_too_large")


async def test_a_head_without_end_is_cut(server: HttpApiServer, client: httpx.AsyncClient) -> None:
    before = refusals("head_too_large")

    assert b"" == await sent(server, b"GET / HTTP/1.1\r\nX: " + b"x" * (bounds.MAX_HEAD_BYTES + 1))

    assert before + 1 == refusals("head_too_large")
    assert 200 == (await client.post(CHECK, json={})).status_code


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST / HTTP/1.1\r\n",
        b"POST /stigg.sidecar.v1.SidecarService/GetBooleanEntitlement HTTP/1.1\r\nHost: x\r\n"
        b"Authorization: Bearer a-token-of-the-test\r\nContent-Length: 5\r\n\r\n{",
    ],
    ids=["nothing", "head", "body"],
)
async def test_a_request_that_never_ends_is_cut(
    server: HttpApiServer, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(bounds, "REQUEST_SECONDS", 0.05)
    before = refusals("slow_request")

    await sent(server, data)

    assert before + 1 == refusals("slow_request")


async def test_what_is_no_http_is_counted(server: HttpApiServer) -> None:
    before = refusals("not_http")

    assert b"400" in await sent(server, b"\x16\x03\x01\r\n\r\n")

    assert before + 1 == refusals("not_http")


async def test_one_connection_too_many_is_closed(
    server: HttpApiServer, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.post(CHECK, json={})
    monkeypatch.setattr(bounds, "MAX_CONNECTIONS", 1)
    before = refusals("too_many_connections")

    assert b"" == await sent(server, b"GET / HTTP/1.1\r\n\r\n")

    assert before + 1 == refusals("too_many_connections")
    assert 200 == (await client.post(CHECK, json={})).status_code


async def test_a_defect_is_reported_without_its_text(
    client: httpx.AsyncClient, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.failure = RuntimeError("secret")

    response = await client.post(CHECK, json={})

    assert 500 == response.status_code
    assert "internal" == response.json()["code"]
    assert "secret" not in response.text
    assert "unexpected exception from door" in caplog.text


async def test_a_call_under_way_ends_before_the_stop(
    server: HttpApiServer, client: httpx.AsyncClient, scripted: Scripted
) -> None:
    scripted.gate.clear()
    call = asyncio.create_task(client.post(CHECK, json={}))
    while not scripted.calls:  # noqa: ASYNC110 - the call has no event
        await asyncio.sleep(0.001)
    stopping = asyncio.create_task(server.stop(grace_seconds=5))
    scripted.gate.set()

    assert 200 == (await call).status_code
    await stopping


async def test_the_query_has_a_bound(scripted: Scripted) -> None:
    request = Request("GET", CHECK, b"&".join(b"a=1" for _ in range(200)), {})

    assert 400 == (await scripted.door.answer(request)).status


async def test_who_does_not_read_the_answer_is_cut_off(
    server: HttpApiServer, scripted: Scripted, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer would lie here for ever; others are answered beside it."""
    monkeypatch.setattr(bounds, "UNREAD_SECONDS", 0.2)
    scripted.reply = (b"x" * 20_000_000, ())
    before = refusals("unread_answer")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(
        f"POST {CHECK} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        "Content-Type: application/proto\r\nContent-Length: 0\r\n\r\n".encode()
    )
    async with asyncio.timeout(20):
        await eventually(lambda: refusals("unread_answer") > before)
        scripted.reply = (b"", ())
        other = await client.post(CHECK, json={"customerId": "c", "featureId": "f"})
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(20_000_000)
    writer.close()

    assert 200 == other.status_code


async def test_a_variable_of_uvicorn_does_not_keep_it_from_starting(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Platforms set WEB_CONCURRENCY for whatever serves; here SIDECAR_WORKERS says it."""
    monkeypatch.setenv("WEB_CONCURRENCY", "abc")
    server = HttpApiServer(api_of(scripted, FakeClock()), listen("127.0.0.1", 0), changes=ChangeNotifier())

    await server.start()
    answer = await sent(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await server.stop(grace_seconds=0)

    assert answer.startswith(b"HTTP/1.1 404")
