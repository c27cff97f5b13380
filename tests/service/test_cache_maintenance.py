"""Evicting and refreshing on demand: what the RPC, the admin and the command all do."""

import pytest

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.errors import InvalidRequest, Offline, Unreachable
from entitlements.domain.reason import AccessDeniedReason
from tests.service.conftest import House

KEY = EntityKey("customer-1")
RESOURCE = EntityKey("customer-1", "resource-1")
OTHER = EntityKey("customer-2")


async def hold(house: House, *keys: EntityKey) -> None:
    for key in keys:
        await house.store.store(key, CachedEntity(entity=Entity(), confirmed_at=house.clock.monotonic()))


async def test_an_evicted_customer_takes_its_resources_along(house: House) -> None:
    await hold(house, KEY, RESOURCE, OTHER)

    assert [KEY, RESOURCE] == await house.maintenance.evict([KEY])

    assert house.store.get(RESOURCE) is None
    assert house.store.get(OTHER) is not None


async def test_an_evicted_resource_leaves_its_customer(house: House) -> None:
    await hold(house, KEY, RESOURCE)

    assert [RESOURCE] == await house.maintenance.evict([RESOURCE])

    assert house.store.get(KEY) is not None


async def test_what_is_not_held_is_not_counted_as_evicted(house: House) -> None:
    assert [] == await house.maintenance.evict([KEY])


async def test_a_failed_refresh_raises_and_keeps_what_is_held(house: House) -> None:
    await hold(house, KEY)
    house.api.answer = Unreachable("api")

    with pytest.raises(Unreachable):
        await house.maintenance.refresh(KEY, budget_seconds=1)

    assert house.store.get(KEY) is not None


@pytest.mark.parametrize(
    ("reason", "exists"),
    [
        (None, True),
        (AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION, True),
        (AccessDeniedReason.CUSTOMER_NOT_FOUND, False),
    ],
)
async def test_reload_asks_the_api_and_never_the_edge(
    house: House, reason: AccessDeniedReason | None, exists: bool
) -> None:
    """It answers whether the cloud knows the entity, and keeps what it learnt."""
    house.api.answer = Entity(denied_reason=reason)

    assert exists is await house.maintenance.reload(KEY, budget_seconds=1)
    assert not house.edge.asked
    assert house.store.get(KEY) is not None


async def test_failed_reload_says_false_and_keeps_what_is_held(house: House) -> None:
    """An outage is no news of a customer."""
    house.api.answer = Unreachable("api")

    assert not await house.maintenance.reload(KEY, budget_seconds=1)
    assert house.store.get(KEY) is None


async def test_offline_reload_says_true(house: House) -> None:
    """contract/evaluation.md, section 3."""
    house.api.answer = Offline("api")

    assert await house.maintenance.reload(KEY, budget_seconds=1)


async def test_reload_of_nobody_is_invalid(house: House) -> None:
    """The sentence names the field."""
    with pytest.raises(InvalidRequest, match="customer_id"):
        await house.maintenance.reload(EntityKey(""), budget_seconds=1)
