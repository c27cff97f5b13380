"""What the feed sends changes what is held; gaps in it make what is held suspect."""

import asyncio

import pytest

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.decision import Query
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate
from entitlements.domain.events import EntitlementsChanged, PackagePublished, UsageChanged
from entitlements.domain.freshness import EntityState
from entitlements.domain.ports import Lookup
from entitlements.service import revalidator as rechecking_module
from tests.builders import a_boolean_feature, a_metered_feature, a_usage, an_entity
from tests.service.conftest import House

KEY = EntityKey("customer-1")
RESOURCE = EntityKey("customer-1", "resource-1")


async def _hold(house: House, entity: Entity, *, key: EntityKey = KEY) -> None:
    await house.store.store(key, CachedEntity(entity=entity, confirmed_at=house.clock.monotonic()))


def _entity(house: House, key: EntityKey = KEY) -> Entity:
    held = house.store.get(key)
    assert held is not None
    return held.entity


def _usage(house: House) -> float:
    return _entity(house).features["f"].usage.current  # type: ignore[union-attr]


async def _state(house: House) -> EntityState | None:
    return (await house.reader.check(Query(key=KEY, feature_id="f"))).provenance.state


async def test_entitlements_event_replaces_the_entity(house: House) -> None:
    """The whole set is new."""
    await _hold(house, an_entity(a_boolean_feature("old"), updated_at_ms=1))

    await house.feed_applier.apply(
        EntitlementsChanged(key=KEY, entity=an_entity(a_boolean_feature("new"), updated_at_ms=2))
    )

    assert ["new"] == list(_entity(house).features)


async def test_entitlements_event_warms_the_cache(house: House) -> None:
    """An entity that is not held yet is held from then on: its first read costs no fetch."""
    await house.feed_applier.apply(EntitlementsChanged(key=KEY, entity=an_entity(a_boolean_feature("f"))))

    answer = await house.reader.check(Query(key=KEY, feature_id="f"))

    assert answer.decision.has_access
    assert not house.edge.asked


async def test_unspecified_entity_is_dropped_and_fetched_on_next_use(house: House) -> None:
    """An empty entitlements event without a reason says: unknown."""
    await _hold(house, an_entity(a_boolean_feature("f")))

    await house.feed_applier.apply(EntitlementsChanged(key=KEY, entity=None))
    assert house.store.get(KEY) is None
    await house.reader.check(Query(key=KEY, feature_id="f"))

    assert house.edge.asked == [KEY]


async def test_drop_during_a_fetch_has_it_asked_again(house: House) -> None:
    """The fetch may have been answered before the change."""
    house.edge.gate = asyncio.Event()
    house.edge.answer = an_entity(a_boolean_feature("f"))
    flying = asyncio.create_task(house.fetcher.fetch(KEY))
    await house.edge.reached.wait()
    await house.feed_applier.apply(EntitlementsChanged(key=KEY, entity=None))
    house.edge.gate.set()
    assert isinstance(await flying, Lookup)

    assert house.edge.asked == [KEY, KEY]


async def test_revocation_of_what_was_stamped_last_is_applied(house: House) -> None:
    """The stamps of what is left go back; access ends all the same, and a lagging Edge cannot undo it."""
    await _hold(house, an_entity(a_boolean_feature("promo"), a_boolean_feature("sso"), updated_at_ms=20))

    left = an_entity(a_boolean_feature("sso"), updated_at_ms=10)
    await house.feed_applier.apply(EntitlementsChanged(key=KEY, entity=left))

    answer = await house.reader.check(Query(key=KEY, feature_id="promo"))
    assert not answer.decision.has_access
    assert left == _entity(house)


async def test_change_during_a_fetch_outlives_its_answer(house: House) -> None:
    """The fetch is asked again, and what the feed sent is not undone by what was answered before."""
    house.edge.gate = asyncio.Event()
    house.edge.answer = an_entity(a_boolean_feature("promo"), updated_at_ms=20)
    flying = asyncio.create_task(house.fetcher.fetch(KEY))
    await house.edge.reached.wait()
    house.clock.advance(1)
    sent = an_entity(a_boolean_feature("sso"), updated_at_ms=10)
    await house.feed_applier.apply(EntitlementsChanged(key=KEY, entity=sent))
    house.edge.answer = sent
    house.edge.gate.set()

    await flying

    assert house.edge.asked == [KEY, KEY]
    assert sent == _entity(house)


async def test_edge_that_lags_behind_is_not_believed(house: House) -> None:
    """Its answer is older than what the feed sent: the API is asked, and its word is taken."""
    await _hold(house, an_entity(a_boolean_feature("sso"), updated_at_ms=20))
    house.edge.answer = an_entity(a_boolean_feature("old"), updated_at_ms=10)
    house.api.answer = an_entity(a_boolean_feature("restored"), updated_at_ms=5)
    house.clock.advance(1)

    await house.fetcher.fetch(KEY)

    assert house.edge.asked == [KEY]
    assert house.api.asked == [KEY]
    assert ["restored"] == list(_entity(house).features)


async def test_usage_event_moves_one_meter(house: House) -> None:
    """A newer usage of a held entity is applied."""
    await _hold(house, an_entity(a_metered_feature("f", usage=a_usage(1, updated_at_ms=10))))

    await house.feed_applier.apply(_usage_changed(5, updated_at_ms=11))

    assert _usage(house) == 5


async def test_better_older_usage_event_does_not_win(house: House) -> None:
    """In memory the newest timestamp wins, not the last arrival."""
    await _hold(house, an_entity(a_metered_feature("f", usage=a_usage(5, updated_at_ms=11))))

    await house.feed_applier.apply(_usage_changed(1, updated_at_ms=10))

    assert _usage(house) == 5


async def test_usage_event_during_a_fetch_shows_in_its_outcome(house: House) -> None:
    """The fetch may have been answered before the usage moved."""
    house.edge.gate = asyncio.Event()
    house.edge.answer = an_entity(a_metered_feature("f", usage=a_usage(1, updated_at_ms=10)))
    flying = asyncio.create_task(house.fetcher.fetch(KEY))
    await house.edge.reached.wait()
    await house.feed_applier.apply(_usage_changed(5, updated_at_ms=11))
    house.edge.gate.set()
    await flying

    assert _usage(house) == 5


async def test_usage_event_of_an_entity_that_is_not_held_is_dropped(house: House) -> None:
    """It is fetched whole when somebody asks."""
    await house.feed_applier.apply(_usage_changed(5, updated_at_ms=11))

    assert house.store.get(KEY) is None


async def test_published_package_of_all_customers_makes_everything_suspect(house: House) -> None:
    """`ALL_CUSTOMERS` says that everything cached is out of date; it still answers."""
    house.feed_applier.followed()
    await _hold(house, an_entity(a_boolean_feature("f")))
    house.clock.advance(1)
    await house.feed_applier.apply(PackagePublished(affects_all_customers=False))
    assert await _state(house) is EntityState.FRESH

    await house.feed_applier.apply(PackagePublished(affects_all_customers=True))

    assert await _state(house) is EntityState.SUSPECT


async def test_better_lost_feed_empties_nothing(house: House) -> None:
    """A lost feed leaves every answer, suspect until it is re-checked."""
    house.feed_applier.followed()
    await _hold(house, an_entity(a_boolean_feature("f")))
    house.clock.advance(1)

    house.feed_applier.lost()

    answer = await house.reader.check(Query(key=KEY, feature_id="f"))
    assert answer.decision.has_access
    assert answer.provenance.state is EntityState.SUSPECT


async def test_recheck_after_a_loss_counts_until_the_feed_is_back(house: House) -> None:
    """What was confirmed during the gap was unfollowed since, so the feed's return makes it suspect."""
    house.feed_applier.followed()
    house.clock.advance(1)
    house.feed_applier.lost()
    house.clock.advance(1)
    await _hold(house, an_entity(a_boolean_feature("f")))
    assert await _state(house) is EntityState.FRESH

    house.clock.advance(1)
    house.feed_applier.followed()

    assert await _state(house) is EntityState.SUSPECT


async def test_customers_change_has_its_resources_checked_again(house: House) -> None:
    """A resource's entitlements depend on its customer's (contract/redis.md, Rules)."""
    await _hold(house, an_entity(a_boolean_feature("f")), key=RESOURCE)
    house.edge.answer = an_entity(a_boolean_feature("new"), updated_at_ms=9_000_000_000_000)

    await house.feed_applier.apply(EntitlementsChanged(key=KEY, entity=an_entity(a_boolean_feature("f"))))
    await house.edge.reached.wait()

    assert house.edge.asked == [RESOURCE]


async def test_too_many_resources_to_check_make_everything_suspect(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be checked now is checked on its next use."""
    monkeypatch.setattr(rechecking_module, "MAX_SUSPECTS_WAITING", 0)
    house.feed_applier.followed()
    await _hold(house, an_entity(a_boolean_feature("f")), key=RESOURCE)
    house.clock.advance(1)

    await house.feed_applier.apply(EntitlementsChanged(key=KEY, entity=None))

    assert house.feed_applier.trust.since == house.clock.monotonic()


def _usage_changed(current: float, *, updated_at_ms: int) -> UsageChanged:
    return UsageChanged(
        key=KEY, update=UsageUpdate(feature_id="f", current=current, updated_at_ms=updated_at_ms)
    )
