"""Every switch of faults.py, thrown over the control API and seen by a real client."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.frames import Close
from websockets.typing import Subprotocol

from emulator.faults import KINDS_BY_TRANSPORT, FaultKind, Transport
from emulator.server import Emulator
from tests.cloud_states import boolean_state, metered_state
from tests.harness import http_client

EDGE_PATH = "/v1/c/customer-1/entitlements-state.json"
CONFIGURATION_PATH = "/v1/config/server-sdk-configuration.json"
REPORT = "mutation ReportUsage($input: ReportUsageInput!) { reportUsage(input: $input) { currentUsage } }"
STATE = """query GetEntitlementsState($query: FetchEntitlementsQuery!) {
  entitlementsState(query: $query) { entitlementsV2 { __typename } } }"""
PACKAGES = "subscription PackagePublished { packagePublished { packageRefId } }"
SECONDS = 5.0


@pytest.fixture
async def http(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the key, and a cloud that knows customer-1 and its meter."""
    emulator.state.put("customer-1", metered_state(), push=False)
    headers = {"X-API-KEY": emulator.api_key}
    async with http_client(base_url=emulator.url, headers=headers, timeout=SECONDS) as client:
        yield client


async def switch(http: httpx.AsyncClient, transport: str, kind: str, **values: Any) -> None:
    """Throws one switch."""
    answer = await http.put("/control/faults", json={"transport": transport, "kind": kind} | values)
    assert answer.status_code == 200, answer.text


async def clear(http: httpx.AsyncClient) -> None:
    """All goes well again."""
    await http.delete("/control/faults")


async def ask(http: httpx.AsyncClient, transport: str, *, timeout: float = SECONDS) -> httpx.Response:  # noqa: ASYNC109 - httpx's own
    """One question over Edge or GraphQL."""
    if transport == "edge":
        return await http.get(EDGE_PATH, timeout=timeout)
    body = {"query": STATE, "variables": {"query": {"customerId": "customer-1"}}}
    return await http.post("/graphql", json=body, timeout=timeout)


async def report(http: httpx.AsyncClient) -> Any:
    """One unit used."""
    given = {"customerId": "customer-1", "featureId": "m", "value": 1}
    return (await http.post("/graphql", json={"query": REPORT, "variables": {"input": given}})).json()


def test_every_kind_is_shown_here() -> None:
    """A new kind needs its test."""
    source = Path(__file__).read_text(encoding="utf-8")

    assert [] == [kind.value for kind in FaultKind if f'"{kind.value}"' not in source]


@pytest.mark.parametrize("transport", ["edge", "graphql"])
async def test_down_resets_the_connection(http: httpx.AsyncClient, transport: str) -> None:
    """And heals when it is cleared."""
    await switch(http, transport, "down")
    with pytest.raises(httpx.TransportError):
        await ask(http, transport)

    await clear(http)
    assert (await ask(http, transport)).status_code == 200


async def test_work_of_a_lost_answer_is_done(http: httpx.AsyncClient) -> None:
    """The report counted, and nobody was sent it; after `down` it did not."""
    for kind in ("lost_answer", "truncated", "down"):
        await switch(http, "graphql", kind, times=1)
        with pytest.raises(httpx.TransportError):
            await report(http)

    assert {"currentUsage": 3} == (await report(http))["data"]["reportUsage"]


@pytest.mark.parametrize("transport", ["edge", "graphql"])
async def test_slow_answers_late_and_hang_never(http: httpx.AsyncClient, transport: str) -> None:
    """Both are patient with the clock of the client."""
    await switch(http, transport, "slow", delay_ms=300)
    with pytest.raises(httpx.ReadTimeout):
        await ask(http, transport, timeout=0.05)
    assert (await ask(http, transport)).status_code == 200

    await switch(http, transport, "hang")
    with pytest.raises(httpx.ReadTimeout):
        await ask(http, transport, timeout=0.3)


@pytest.mark.parametrize("transport", ["edge", "graphql"])
async def test_held_answer_leaves_when_the_faults_change(
    emulator: Emulator, http: httpx.AsyncClient, transport: str
) -> None:
    """Not before."""
    await switch(http, transport, "hold")
    held = asyncio.create_task(ask(http, transport))
    await emulator.counters.reached("edge" if transport == "edge" else "graphql:GetEntitlementsState", 1)
    assert not held.done()

    await clear(http)
    assert (await held).status_code == 200


@pytest.mark.parametrize("transport", ["edge", "graphql"])
@pytest.mark.parametrize(
    ("kind", "values", "status"),
    [
        ("status", {"status": 502, "retry_after_seconds": 9}, 502),
        ("throttled", {"retry_after_seconds": 9}, 429),
    ],
)
async def test_status_is_the_one_asked_for(
    http: httpx.AsyncClient, transport: str, kind: str, values: dict[str, int], status: int
) -> None:
    """With its Retry-After."""
    await switch(http, transport, kind, **values)
    answer = await ask(http, transport)

    assert status == answer.status_code
    assert "9" == answer.headers["Retry-After"]


@pytest.mark.parametrize("transport", ["edge", "graphql"])
async def test_huge_is_the_same_and_longer(http: httpx.AsyncClient, transport: str) -> None:
    """By as many megabytes as were asked for; what it says is still true."""
    plain = await ask(http, transport)
    await switch(http, transport, "huge", megabytes=2)
    huge = await ask(http, transport)

    assert plain.json() == huge.json()
    assert len(plain.content) + 2_000_000 == len(huge.content)


@pytest.mark.parametrize("transport", ["edge", "graphql"])
async def test_redirect_leads_elsewhere(http: httpx.AsyncClient, transport: str) -> None:
    """To where it was directed; a client that does not follow sees where."""
    await switch(http, transport, "redirect", location="http://127.0.0.1:9/there")
    answer = await ask(http, transport)

    assert 307 == answer.status_code
    assert "http://127.0.0.1:9/there" == answer.headers["Location"]


@pytest.mark.parametrize("transport", ["edge", "graphql"])
async def test_garbage_is_no_json_and_errors_are_200(http: httpx.AsyncClient, transport: str) -> None:
    """Both with a status of success."""
    await switch(http, transport, "garbage")
    garbage = await ask(http, transport)
    await switch(http, transport, "errors_200", code="FeatureNotFound", message="gone")
    errors = await ask(http, transport)

    assert 200 == garbage.status_code
    assert 200 == errors.status_code
    with pytest.raises(ValueError, match="Expecting value"):
        garbage.json()
    first = errors.json()["errors"][0]
    assert "gone" == first["message"]
    assert "FeatureNotFound" == first["extensions"]["code"]


async def test_bad_key_is_refused_as_by_each_transport(http: httpx.AsyncClient) -> None:
    """401 by the Edge, a code by GraphQL."""
    await switch(http, "edge", "bad_key")
    await switch(http, "graphql", "bad_key")

    assert (await ask(http, "edge")).status_code == 401
    code = (await ask(http, "graphql")).json()["errors"][0]["extensions"]["code"]
    assert code == "Unauthenticated"


async def test_fault_may_be_for_some_requests_only(http: httpx.AsyncClient) -> None:
    """For one customer, one operation, a number of times; added ones stand behind."""
    await switch(http, "edge", "status", status=500, customer_id="customer-2")
    assert (await ask(http, "edge")).status_code == 200
    await switch(http, "edge", "status", status=500, operation="sdk-configuration")
    assert 200 == (await ask(http, "edge")).status_code
    assert 500 == (await http.get(CONFIGURATION_PATH)).status_code
    await switch(http, "edge", "status", status=501, times=1)
    await http.post(
        "/control/faults", json={"transport": "edge", "kind": "status", "status": 502, "times": 1}
    )

    assert [501, 502, 200] == [(await ask(http, "edge")).status_code for _ in range(3)]


async def test_chance_repeats_itself(emulator: Emulator, http: httpx.AsyncClient) -> None:
    """From its seed, after everything is cleared."""
    runs = []
    for _ in range(2):
        await clear(http)
        await switch(http, "edge", "status", status=500, probability=0.5)
        runs.append([(await ask(http, "edge")).status_code for _ in range(20)])

    assert runs[0] == runs[1]
    assert {200, 500} == set(runs[0])
    assert {None, "status"} == {request.fault for request in emulator.counters.requests}


@pytest.mark.parametrize(
    "fault",
    [
        {"transport": "edge", "kind": "no_ack"},
        {"transport": "ws", "kind": "truncated"},
        {"transport": "edge", "kind": "flood"},
        {"transport": "post", "kind": "down"},
        {"transport": "edge", "kind": "down", "times": 0},
        {"transport": "edge", "kind": "down", "colour": "red"},
        {"transport": "edge"},
    ],
)
async def test_fault_that_cannot_be_is_refused(http: httpx.AsyncClient, fault: dict[str, Any]) -> None:
    """In a sentence, and none is switched on."""
    answer = await http.put("/control/faults", json=fault)

    assert answer.status_code == 400
    assert answer.json()["error"]
    assert {way.value: [] for way in Transport} == (await http.get("/control/faults")).json()


def test_http_transports_have_the_same_faults() -> None:
    """What may strike one may strike the other."""
    assert KINDS_BY_TRANSPORT[Transport.EDGE] == KINDS_BY_TRANSPORT[Transport.GRAPHQL]


def _socket(emulator: Emulator) -> connect:
    return connect(
        f"{emulator.ws_url}/graphql", subprotocols=[Subprotocol("graphql-transport-ws")], open_timeout=1
    )


async def _begin(emulator: Emulator, socket: ClientConnection) -> None:
    await socket.send(
        json.dumps({"type": "connection_init", "payload": {"headers": {"x-api-key": emulator.api_key}}})
    )


async def _received(socket: ClientConnection, *, seconds: float = SECONDS) -> Any:
    async with asyncio.timeout(seconds):
        return json.loads(await socket.recv())


async def _subscribe(socket: ClientConnection, id_: str = "1") -> None:
    payload = {"query": PACKAGES, "operationName": "PackagePublished"}
    await socket.send(json.dumps({"id": id_, "type": "subscribe", "payload": payload}))


async def test_upgrade_is_reset_refused_held_or_late(emulator: Emulator, http: httpx.AsyncClient) -> None:
    """down, status, hang and slow strike the upgrade."""
    await switch(http, "ws", "down")
    with pytest.raises((OSError, EOFError, InvalidMessage)):
        await _socket(emulator)
    await switch(http, "ws", "status", status=503)
    with pytest.raises(InvalidStatus):
        await _socket(emulator)
    for kind, values in (("hang", {}), ("slow", {"delay_ms": 3000})):
        await switch(http, "ws", kind, **values)
        with pytest.raises(TimeoutError):
            await _socket(emulator)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("bad_key", {}, Close(4403, "Invalid API key")),
        ("throttled", {}, Close(4500, "ThrottlerException: Too Many Requests")),
        ("bad_key", {"close_code": 4001, "close_reason": "so"}, Close(4001, "so")),
    ],
)
async def test_connection_is_closed_with_its_reason(
    emulator: Emulator, http: httpx.AsyncClient, kind: str, values: dict[str, Any], expected: Close
) -> None:
    """The cloud's own, or the one asked for."""
    await switch(http, "ws", kind, **values)
    async with _socket(emulator) as socket:
        await _begin(emulator, socket)
        with pytest.raises(ConnectionClosed) as closed:
            await _received(socket)

    assert closed.value.rcvd is not None
    assert expected == closed.value.rcvd


@pytest.mark.parametrize("kind", ["no_ack", "silent"])
async def test_connection_may_stay_silent(emulator: Emulator, http: httpx.AsyncClient, kind: str) -> None:
    """Open, and nothing comes; only the half-open one swallows the protocol's own pings too."""
    await switch(http, "ws", kind)
    async with _socket(emulator) as socket:
        await _begin(emulator, socket)
        pong = asyncio.ensure_future(await socket.ping())
        with pytest.raises(TimeoutError):
            await _received(socket, seconds=0.3)

        assert pong.done() is (kind == "no_ack")
        socket.transport.abort()


async def test_garbage_begins_after_the_acknowledgement(emulator: Emulator, http: httpx.AsyncClient) -> None:
    """Every frame from there on is no JSON."""
    await switch(http, "ws", "garbage")
    async with _socket(emulator) as socket:
        await _begin(emulator, socket)
        assert {"type": "connection_ack"} == await _received(socket)
        await socket.send('{"type": "ping"}')
        with pytest.raises(ValueError, match="Expecting value"):
            await _received(socket)


async def test_error_is_for_one_subscription(emulator: Emulator, http: httpx.AsyncClient) -> None:
    """By its field; the connection stays, and the next try succeeds."""
    await switch(http, "ws", "error", operation="packagePublished", times=1, message="no")
    async with _socket(emulator) as socket:
        await _begin(emulator, socket)
        await _received(socket)
        await _subscribe(socket)
        refused = await _received(socket)
        await _subscribe(socket, "2")
        await emulator.feed.subscribed("packagePublished")
        await http.post("/control/publish", json={})

        assert "error" == refused["type"]
        assert "1" == refused["id"]
        assert "no" == refused["payload"][0]["message"]
        assert "2" == (await _received(socket))["id"]


@pytest.mark.parametrize("control", ["drop", "close", "silence"])
async def test_open_sockets_are_cut_closed_or_deafened(
    emulator: Emulator, http: httpx.AsyncClient, control: str
) -> None:
    """By one request to the control API."""
    async with _socket(emulator) as socket:
        await _begin(emulator, socket)
        await _received(socket)
        asked = await http.post(f"/control/feed/{control}", json={"code": 4321, "reason": "so"})
        assert {"sockets": 1} == asked.json()
        if control == "silence":
            await socket.send('{"type": "ping"}')
            with pytest.raises(TimeoutError):
                await _received(socket, seconds=0.3)
            socket.transport.abort()
        else:
            with pytest.raises(ConnectionClosed) as closed:
                await _received(socket)
            reason = None if closed.value.rcvd is None else closed.value.rcvd.reason
            assert reason == ("so" if control == "close" else None)


@pytest.mark.parametrize("id_", ["a%0Ab", "a%00b", "%E2%80%A8", "%2E%2E", "a%2Fb%3F"])
async def test_any_id_is_an_address(emulator: Emulator, http: httpx.AsyncClient, id_: str) -> None:
    """Whatever it decodes to.

    An id with a line break met no route, and was 404 in words that are not JSON.
    """
    decoded = httpx.URL(f"http://h/{id_}").path[1:]
    emulator.state.put(decoded, boolean_state(), push=False)

    answer = await http.get(f"/v1/c/{id_}/entitlements-state.json")

    assert answer.status_code == 200
    assert emulator.counters.requests[-1].customer_ids == (decoded,)
