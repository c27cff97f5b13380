"""Background re-checks: each suspect once, in turn, within a rate."""

import asyncio
from random import Random

import pytest
from prometheus_client import REGISTRY

from entitlements.background import Background
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import Unreachable
from entitlements.service import revalidator as module
from entitlements.service.revalidator import Revalidator
from tests.builders import an_entity
from tests.service.conftest import House, build_house

KEY = EntityKey("customer-1")


async def test_suspect_is_asked_for_once_however_often_it_is_named(house: House) -> None:
    """A hundred reads of one suspect are one re-check."""
    for _ in range(100):
        assert house.revalidator.recheck(KEY)

    await house.edge.reached.wait()

    assert house.edge.asked == [KEY]
    assert house.revalidator.waiting == 0


async def test_failed_recheck_is_noted_on_the_entity(house: House) -> None:
    """It stays, and is stale."""
    await house.store.store(KEY, CachedEntity(entity=an_entity(), confirmed_at=0))
    house.edge.answer = house.api.answer = Unreachable("edge")

    house.revalidator.recheck(KEY)
    async with asyncio.timeout(1):
        while (held := house.store.get(KEY)) and held.failed_at is None:  # noqa: ASYNC110 - the store announces nothing
            await asyncio.sleep(0)

    held = house.store.get(KEY)
    assert held is not None
    assert held.failed_at == house.clock.monotonic()
    assert held.entity == an_entity()


async def test_rechecks_keep_to_their_rate() -> None:
    """Two re-checks a second: the second of three waits for its turn."""
    house = build_house()
    slow = Revalidator(
        fetcher=house.fetcher,
        store=house.store,
        clock=house.clock,
        random=Random(1),
        refreshes_per_second=0.001,
        background=Background(house.clock.monotonic),
    )
    async with slow:
        for number in range(3):
            slow.recheck(EntityKey(f"customer-{number}"))
        await house.edge.reached.wait()

        assert len(house.edge.asked) == 1
        assert slow.waiting == 2


async def test_too_many_suspects_are_counted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue of suspects is bounded; what does not fit is reported and counted."""
    monkeypatch.setattr(module, "MAX_SUSPECTS_WAITING", 1)
    before = REGISTRY.get_sample_value("sidecar_rechecks_total", {"outcome": "dropped"}) or 0

    accepted = [house.revalidator.recheck(EntityKey(f"customer-{number}")) for number in (1, 1, 2)]

    assert [True, True, False] == accepted
    assert REGISTRY.get_sample_value("sidecar_rechecks_total", {"outcome": "dropped"}) == before + 1


async def test_suspect_may_be_named_by_any_thread(house: House) -> None:
    """The transport's thread finds suspects too; the loop wakes and asks."""
    assert await asyncio.to_thread(house.revalidator.recheck, KEY)

    await asyncio.wait_for(house.edge.reached.wait(), 5)
    assert house.edge.asked == [KEY]
