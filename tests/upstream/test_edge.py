"""The Edge over real HTTP."""

import pytest

from emulator.server import Emulator
from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import Garbled, KeyRefused, Throttled, Unreachable
from entitlements.domain.reason import AccessDeniedReason
from entitlements.upstream.edge import EdgeSource
from tests.cloud_states import boolean_state


async def test_it_answers_an_entity(emulator: Emulator, edge: EdgeSource) -> None:
    emulator.state.put("c", boolean_state(), push=False)

    entity = await edge.fetch(EntityKey("c"), budget_seconds=5)

    assert ["f"] == list(entity.features)


@pytest.mark.parametrize("id_", ["a%41b", "r&x=1", "a/b", "ä ö", "..", ".", "a?b#c", "%2e%2e", "a\\b", "+"])
async def test_ids_go_into_urls_encoded(emulator: Emulator, edge: EdgeSource, id_: str) -> None:
    """contract/better.md: customer `a%41b` is not `aAb`, resource `r&x=1` is not `r`, `a/b` does not fail."""
    emulator.state.put(id_, boolean_state(feature_id="own"), push=False)
    emulator.state.put("c", boolean_state(feature_id="whole"), push=False)
    emulator.state.put("c", boolean_state(feature_id="part"), resource_id=id_, push=False)

    customer = await edge.fetch(EntityKey(id_), budget_seconds=5)
    resource = await edge.fetch(EntityKey("c", id_), budget_seconds=5)

    assert ["own"] == list(customer.features)
    assert ["part"] == list(resource.features)


async def test_an_unknown_customer_is_an_empty_entity(edge: EdgeSource) -> None:
    entity = await edge.fetch(EntityKey("nobody"), budget_seconds=5)

    assert entity.is_empty
    assert entity.denied_reason in {None, AccessDeniedReason.CUSTOMER_NOT_FOUND}


@pytest.mark.parametrize(
    ("kind", "error"),
    [("bad_key", KeyRefused), ("throttled", Throttled), ("garbage", Garbled), ("down", Unreachable)],
)
async def test_each_fault_is_distinguished(
    emulator: Emulator, edge: EdgeSource, kind: str, error: type[Exception]
) -> None:
    emulator.faults.set("edge", kind)

    with pytest.raises(error):
        await edge.fetch(EntityKey("c"), budget_seconds=1)


async def test_a_failure_is_tried_again_once(emulator: Emulator, edge: EdgeSource) -> None:
    emulator.faults.set("edge", "status", status=500)

    with pytest.raises(Garbled, match="answered with status 500"):
        await edge.fetch(EntityKey("c"), budget_seconds=5)

    assert emulator.counters.total("edge") == 2


async def test_a_refused_key_is_not_tried_again(emulator: Emulator, edge: EdgeSource) -> None:
    emulator.faults.set("edge", "bad_key")

    with pytest.raises(KeyRefused):
        await edge.fetch(EntityKey("c"), budget_seconds=5)

    assert emulator.counters.total("edge") == 1


async def test_a_key_is_checked(emulator: Emulator, edge: EdgeSource) -> None:
    await edge.check_key(budget_seconds=5)
    emulator.faults.set("edge", "bad_key")

    with pytest.raises(KeyRefused):
        await edge.check_key(budget_seconds=5)


async def test_it_says_who_asks(emulator: Emulator, edge: EdgeSource) -> None:
    """contract/upstream.md: the version of the API, and the identity of this instance."""
    await edge.fetch(EntityKey("c"), budget_seconds=5)

    headers = emulator.counters.requests[-1].headers
    assert "1" == headers["X-API-VERSION"]
    assert "instance-1" == headers["X-SDK-INSTANCE-ID"]
    assert "tests" == headers["User-Agent"]


async def test_its_health_is_asked_without_a_word_about_anybody(emulator: Emulator, edge: EdgeSource) -> None:
    """The free probe of an open circuit: the cloud's limits leave it out."""
    await edge.check_health(5)

    assert ["/health"] == [request.raw_path for request in emulator.counters.requests]


async def test_an_edge_that_is_not_well_is_reported(emulator: Emulator, edge: EdgeSource) -> None:
    emulator.faults.set("edge", "status", status=503)

    with pytest.raises(Garbled):
        await edge.check_health(5)
