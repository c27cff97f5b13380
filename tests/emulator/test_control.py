"""What a person hands to the emulator by its control API is looked at before it is kept."""

from typing import Any

import httpx
import pytest

from emulator.server import Emulator
from tests.cloud_states import boolean_state, metered_state
from tests.harness import http_client

FIRST = "state.entitlementsV2[0]"


async def _put(emulator: Emulator, **body: Any) -> httpx.Response:
    async with http_client() as client:
        return await client.put(f"{emulator.url}/control/state", json=body)


def _of(**fields: Any) -> dict[str, Any]:
    entitlement = {"__typename": "FeatureEntitlement", "feature": {"refId": "f"}} | fields
    return {"entitlementsV2": [entitlement]}


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("junk", "state must be an object with entitlementsV2"),
        ({"entitlements": []}, "state.entitlements must be one of accessDeniedReason, entitlementsV2"),
        ({"entitlementsV2": {}}, "state.entitlementsV2 must be a list"),
        ({"accessDeniedReason": 5}, "state.accessDeniedReason must be a string or null"),
        ({"entitlementsV2": ["f"]}, "state.entitlementsV2[0] must be an object"),
        (_of(__typename="Feature"), f"{FIRST}.__typename must be FeatureEntitlement or CreditEntitlement"),
        (_of(feature={}), "state.entitlementsV2[0].feature.refId must be a string that is not empty"),
        (_of(usageLimit="5"), "state.entitlementsV2[0].usageLimit must be a number or null"),
    ],
)  # fmt: skip
async def test_a_state_that_no_cloud_would_say_is_refused_by_its_field(
    emulator: Emulator, state: object, sentence: str
) -> None:
    answer = await _put(emulator, customerId="c", state=state)

    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert answer.json()["error"] == sentence


@pytest.mark.parametrize("customer_id", ["", 5, None])
async def test_a_customer_without_a_name_is_refused(emulator: Emulator, customer_id: object) -> None:
    answer = await _put(emulator, customerId=customer_id, state=boolean_state())

    assert answer.json()["error"] == "customerId must be a string that is not empty"


@pytest.mark.parametrize(("method", "path"), [("DELETE", "state"), ("POST", "usage")])
@pytest.mark.parametrize("named", [{"customerId": 5}, {"customerId": "c", "resourceId": ""}])
async def test_a_name_that_is_none_is_refused_whatever_is_done(
    emulator: Emulator, method: str, path: str, named: dict[str, Any]
) -> None:
    body = {"entitlementId": "f", "currentUsage": 1} | named
    async with http_client() as client:
        answer = await client.request(method, f"{emulator.url}/control/{path}", json=body)

    assert answer.json()["error"] == f"{list(named)[-1]} must be a string that is not empty"


async def test_what_no_cloud_would_say_is_kept_where_that_is_asked_for(emulator: Emulator) -> None:
    answer = await _put(emulator, customerId="c", state=_of(usageLimit="5"), unchecked=True)

    assert answer.is_success
    assert emulator.state.get("c")["entitlementsV2"][0]["usageLimit"] == "5"


@pytest.mark.parametrize("usage", ["5", None, True])
async def test_a_usage_that_is_no_number_is_refused(emulator: Emulator, usage: object) -> None:
    async with http_client() as client:
        body = {"customerId": "c", "entitlementId": "f", "currentUsage": usage}
        answer = await client.post(f"{emulator.url}/control/usage", json=body)

    assert answer.json()["error"] == "currentUsage must be a number"


async def test_usages_are_set_one_after_the_other(emulator: Emulator) -> None:
    """The last one stays; a value that is none is refused by its name."""
    emulator.state.put("c", metered_state(), push=False)
    body: dict[str, Any] = {"customerId": "c", "entitlementId": "m"}
    async with http_client() as client:
        done = await client.post(f"{emulator.url}/control/usages", json=body | {"values": [1, 2, 5]})
        refused = await client.post(f"{emulator.url}/control/usages", json=body | {"values": ["x"]})

    assert 200 == done.status_code
    assert 400 == refused.status_code
    assert "currentUsage must be a number" == refused.json()["error"]
    assert 5 == emulator.state.get("c", resource_id=None)["entitlementsV2"][0]["currentUsage"]


async def test_keys_are_exchanged(emulator: Emulator) -> None:
    """From then on those are accepted, and no other."""
    address, headers = f"{emulator.url}/v1/c/c/entitlements-state.json", {"X-API-KEY": "the-next"}
    async with http_client() as client:
        before = await client.get(address, headers=headers)
        await client.put(f"{emulator.url}/control/api-keys", json={"keys": ["the-next"]})
        after = await client.get(address, headers=headers)
        old = await client.get(address, headers={"X-API-KEY": emulator.api_key})

    assert 401 == before.status_code
    assert 200 == after.status_code
    assert 401 == old.status_code
