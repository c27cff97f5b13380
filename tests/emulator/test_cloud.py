"""The emulator as a stranger sees it: over HTTP and WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from emulator.catalogue import demo_states
from emulator.server import Emulator
from tests.cloud_states import boolean_state, metered_state
from tests.harness import http_client

REPORT = """mutation ReportUsage($input: ReportUsageInput!) {
  reportUsage(input: $input) { id currentUsage }
}"""
STATE = """query GetEntitlementsState($query: FetchEntitlementsQuery!) {
  entitlementsState(query: $query) { accessDeniedReason entitlementsV2 { __typename } }
}"""


@pytest.fixture
async def http(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"X-API-KEY": emulator.api_key}
    async with http_client(base_url=emulator.url, headers=headers) as client:
        yield client


async def graphql(http: httpx.AsyncClient, document: str, /, **variables: Any) -> dict[str, Any]:
    answer = await http.post("/graphql", json={"query": document, "variables": variables})
    found: dict[str, Any] = answer.json()
    return found


async def test_the_edge_answers_a_state(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.state.put("a/b", boolean_state())

    answer = await http.get("/v1/c/a%2Fb/entitlements-state.json")

    state = answer.json()["data"]["entitlementsState"]
    assert ["FeatureEntitlement"] == [each["__typename"] for each in state["entitlementsV2"]]


@pytest.mark.parametrize(
    "path", ["/v1/c/a/b/entitlements-state.json", "/v1/c//entitlements-state.json", "/v2"]
)
async def test_an_address_that_the_edge_does_not_have_is_404(http: httpx.AsyncClient, path: str) -> None:
    assert 404 == (await http.get(path)).status_code


async def test_a_wrong_key_is_refused_by_both(emulator: Emulator, http: httpx.AsyncClient) -> None:
    http.headers["X-API-KEY"] = "wrong"

    edge = await http.get("/v1/c/a/entitlements-state.json")
    api = await graphql(http, STATE, query={"customerId": "a"})

    assert 401 == edge.status_code
    assert "Unauthenticated" == api["errors"][0]["extensions"]["code"]


async def test_an_invented_field_fails(http: httpx.AsyncClient) -> None:
    answer = await graphql(http, STATE.replace("accessDeniedReason", "invented"), query={"customerId": "a"})

    assert "invented" in answer["errors"][0]["message"]


async def test_usage_counts_and_a_repeated_key_does_not(emulator: Emulator, http: httpx.AsyncClient) -> None:
    emulator.state.put("c", metered_state())
    report = {"customerId": "c", "featureId": "m", "value": 2, "idempotencyKey": "k-1"}

    usages = [
        (await graphql(http, REPORT, input=given))["data"]["reportUsage"]["currentUsage"]
        for given in (report, report, report | {"idempotencyKey": "k-2"})
    ]

    assert [2, 2, 4] == usages


async def test_usage_of_an_unknown_feature_is_refused_with_a_code(
    emulator: Emulator, http: httpx.AsyncClient
) -> None:
    emulator.state.put("c", metered_state())

    answer = await graphql(http, REPORT, input={"customerId": "c", "featureId": "x", "value": 1})

    assert "FeatureNotFound" == answer["errors"][0]["extensions"]["code"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [({"kind": "status", "status": 503}, 503), ({"kind": "throttled", "retry_after_seconds": 3}, 429)],
)
async def test_a_switch_for_faults_over_the_control_api(
    http: httpx.AsyncClient, fault: dict[str, Any], status: int
) -> None:
    await http.put("/control/faults", json={"transport": "edge", "times": 1} | fault)

    struck, after = [await http.get("/v1/c/a/entitlements-state.json") for _ in range(2)]

    assert status == struck.status_code
    assert 200 == after.status_code
    if status == 429:
        assert "3" == struck.headers["Retry-After"]


@pytest.mark.parametrize("kind", ["down", "lost_answer", "truncated", "hang"])
async def test_faults_without_an_answer(http: httpx.AsyncClient, kind: str) -> None:
    await http.put("/control/faults", json={"transport": "edge", "kind": kind})

    with pytest.raises(httpx.TransportError):
        await http.get("/v1/c/a/entitlements-state.json", timeout=0.5)


async def test_an_unfit_fault_is_refused_in_a_sentence(http: httpx.AsyncClient) -> None:
    answer = await http.put("/control/faults", json={"transport": "ws", "kind": "truncated"})

    assert 400 == answer.status_code
    assert "ws has no fault truncated" in answer.text


async def test_the_control_api_lists_what_was_received(emulator: Emulator, http: httpx.AsyncClient) -> None:
    await http.get("/v1/c/a/entitlements-state.json")

    counters = (await http.get("/control/counters")).json()
    requests = (await http.get("/control/requests")).json()

    assert 1 == counters["fetches"]
    assert ["a"] == requests[-1]["customer_ids"]
    assert emulator.api_key not in json.dumps(requests)


async def test_state_is_put_and_deleted_from_outside(http: httpx.AsyncClient) -> None:
    await http.put("/control/state", json={"customerId": "c", "state": boolean_state()})
    before = (await http.get("/control/customers")).json()

    await http.request("DELETE", "/control/state", json={"customerId": "c"})
    await http.post("/control/reset")

    assert "c" in json.dumps(before)
    assert "c" not in (await http.get("/control/customers")).json()


class Subscriber:
    """A client of graphql-transport-ws."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), 5))
        return found


@pytest.fixture
async def subscriber(emulator: Emulator) -> AsyncIterator[Subscriber]:
    async with connect(
        f"{emulator.ws_url}/graphql", subprotocols=[Subprotocol("graphql-transport-ws")]
    ) as socket:
        yield Subscriber(socket)


async def test_a_subscription_sends_what_changes(emulator: Emulator, subscriber: Subscriber) -> None:
    await subscriber.say(type="connection_init", payload={"headers": {"X-API-KEY": emulator.api_key}})
    assert "connection_ack" == (await subscriber.receive())["type"]
    query = "subscription U { usageUpdatedV2 { customerId usage { currentUsage } } }"
    await subscriber.say(type="subscribe", id="7", payload={"query": query})
    await emulator.feed.subscribed("usageUpdatedV2")

    emulator.state.put("c", metered_state(), push=False)
    emulator.state.set_usage("c", "m", 5)

    message = await subscriber.receive()
    assert "next" == message["type"]
    assert "7" == message["id"]
    assert {"customerId": "c", "usage": {"currentUsage": 5}} == message["payload"]["data"]["usageUpdatedV2"]


async def test_a_ping_is_answered(emulator: Emulator, subscriber: Subscriber) -> None:
    await subscriber.say(type="ping")

    assert "pong" == (await subscriber.receive())["type"]


async def test_a_bad_key_is_a_close_that_says_so(subscriber: Subscriber) -> None:
    await subscriber.say(type="connection_init", payload={"headers": {"X-API-KEY": "wrong"}})

    with pytest.raises(ConnectionClosed) as caught:
        await subscriber.receive()

    assert caught.value.rcvd is not None
    assert 4403 == caught.value.rcvd.code
    assert "Invalid API key" == caught.value.rcvd.reason


def test_the_catalogue_has_every_kind_of_entitlement() -> None:
    entitlements = [
        each for state in demo_states(1_750_000_000_000).values() for each in state["entitlementsV2"] or []
    ]

    kinds = {
        (each["feature"]["featureType"], each["feature"]["meterType"]) if "feature" in each else "CREDIT"
        for each in entitlements
    }
    assert {
        ("BOOLEAN", "None"),
        ("NUMBER", "None"),
        ("NUMBER", "Incremental"),
        ("NUMBER", "Fluctuating"),
        ("ENUM", "None"),
        "CREDIT",
    } <= kinds


async def test_it_stops_and_resumes_on_the_same_port(emulator: Emulator, http: httpx.AsyncClient) -> None:
    await emulator.stop_listening()
    with pytest.raises(httpx.TransportError):
        await http.get("/control/counters")

    await emulator.resume_listening()

    assert 200 == (await http.get("/control/counters")).status_code
