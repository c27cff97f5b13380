"""A read that memory cannot answer: what was found out of it at once is not found out again."""

from typing import Any, cast

import pytest

from entitlements.domain.entity import EntityKey
from entitlements.domain.ports import Lookup
from entitlements.service.cache_maintenance import CacheMaintenance
from entitlements.service.usage_reporter import UsageReporter
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.methods import Call, Later, UnaryMethod
from grpc_service.reads import path_of
from grpc_service.servicer import SidecarServicer
from grpc_service.translation import requests
from tests.builders import a_boolean_feature, a_cached_entity, an_entity
from tests.service.conftest import House, build_house

KEY = EntityKey("c")
CHECK = pb.GetBooleanEntitlementRequest(customer_id="c", feature_id="f").SerializeToString()
LIST = pb.GetEntitlementsRequest(customer_id="c").SerializeToString()
READS = [("GetBooleanEntitlement", CHECK), ("GetEntitlements", LIST)]


@pytest.fixture
def house() -> House:
    house = build_house()
    house.edge.answer = an_entity(a_boolean_feature("f"))
    return house


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every request that is parsed."""
    parsed: list[object] = []
    for name in ("boolean_query", "entity_key"):
        parse = getattr(requests, name)

        def noted(request: Any, parse: Any = parse) -> Any:
            parsed.append(request)
            return parse(request)

        monkeypatch.setattr(requests, name, noted)
    return parsed


def method_of(house: House, name: str) -> UnaryMethod:
    servicer = SidecarServicer(
        reader=house.reader,
        response_cache=house.response_cache,
        usage_reporter=cast("UsageReporter", None),
        maintenance=cast("CacheMaintenance", None),
        new_idempotency_key=lambda: "key",
        sends_provenance=True,
    )
    return {method.path: method for method in servicer.methods()}[path_of(name)]


@pytest.mark.parametrize(("name", "request_"), READS)
async def test_a_miss_is_parsed_once(house: House, parsed: list[object], name: str, request_: bytes) -> None:
    begun = method_of(house, name).begin(request_)
    assert isinstance(begun, Later)
    _, provenance = await begun.answer(Call())

    assert 1 == len(parsed)
    assert b"edge" == dict(provenance)["stigg-source"]


@pytest.mark.parametrize(("name", "request_"), READS)
async def test_a_read_that_may_not_wait_is_not_parsed_anew(
    house: House, parsed: list[object], name: str, request_: bytes
) -> None:
    begun = method_of(house, name).begin(request_)
    assert isinstance(begun, Later)
    assert begun.unasked is not None
    _, provenance = begun.unasked()

    assert 1 == len(parsed)
    assert b"fallback" == dict(provenance)["stigg-source"]
    assert [] == house.edge.asked


@pytest.mark.parametrize(("name", "request_"), READS)
async def test_what_is_over_is_not_looked_up_again(
    house: House, monkeypatch: pytest.MonkeyPatch, name: str, request_: bytes
) -> None:
    """The quick look found it, and hands it on: the cloud is asked without another."""
    memory: Any = house.store
    over = an_entity(a_boolean_feature("f", valid_until_ms=house.clock.now_ms() - 1))
    memory._memory.update(KEY, lambda _: a_cached_entity(over, confirmed_at=house.clock.seconds - 30))
    house.edge.answer = an_entity(a_boolean_feature("f"), updated_at_ms=9)
    looked: list[EntityKey] = []
    find = house.store.find

    async def noted(key: EntityKey) -> Lookup | None:
        looked.append(key)
        return await find(key)

    monkeypatch.setattr(house.store, "find", noted)
    begun = method_of(house, name).begin(request_)
    assert isinstance(begun, Later)
    _, provenance = await begun.answer(Call())

    assert [] == looked
    assert [KEY] == house.edge.asked
    assert b"edge" == dict(provenance)["stigg-source"]


async def test_a_hit_does_not_wait(house: House) -> None:
    memory: Any = house.store
    memory._memory.update(
        KEY,
        lambda _: a_cached_entity(an_entity(a_boolean_feature("f")), confirmed_at=house.clock.seconds),
    )

    begun = method_of(house, "GetBooleanEntitlement").begin(CHECK)

    assert isinstance(begun, tuple)
    message, provenance = begun
    assert pb.GetBooleanEntitlementResponse.FromString(message).has_access
    assert b"memory" == dict(provenance)["stigg-source"]
