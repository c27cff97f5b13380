"""What wakes those who watch a customer: what changed, and nothing else."""

import pytest

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate
from entitlements.domain.events import EntitlementsChanged, FeedEvent, PackagePublished, UsageChanged
from entitlements.service.change_notifier import Watcher
from tests.builders import a_boolean_feature, a_metered_feature, a_usage, an_entity
from tests.service.conftest import House

KEY = EntityKey("customer-1")


def woken(watcher: Watcher) -> bool:
    """Whether it was woken since the last look."""
    was = watcher._changed.is_set()
    watcher._changed.clear()
    return was


async def test_an_event_of_an_entity_that_nobody_holds_wakes(house: House) -> None:
    watcher = house.changes.watch("customer-1", None)

    await house.feed_applier.apply(EntitlementsChanged(key=KEY, entity=an_entity(a_boolean_feature("f"))))

    assert woken(watcher)


async def test_usage_wakes_and_the_new_one_is_read_by_then(house: House) -> None:
    entity = an_entity(a_metered_feature("f", usage=a_usage(1, updated_at_ms=1)))
    await house.store.store(KEY, CachedEntity(entity=entity, confirmed_at=house.clock.monotonic()))
    watcher = house.changes.watch("customer-1", None)

    update = UsageUpdate(feature_id="f", current=2, updated_at_ms=house.clock.now_ms())
    await house.feed_applier.apply(UsageChanged(key=KEY, update=update))

    held = house.store.get(KEY)
    assert woken(watcher)
    assert held is not None
    assert 2 == held.entity.features["f"].usage.current  # type: ignore[union-attr]


async def test_a_report_wakes(house: House) -> None:
    """Its receipt moves the meter here; no feed is needed for that."""
    entity = an_entity(a_metered_feature("f", usage=a_usage(1, updated_at_ms=1)))
    await house.store.store(KEY, CachedEntity(entity=entity, confirmed_at=house.clock.monotonic()))
    watcher = house.changes.watch("customer-1", None)

    update = UsageUpdate(feature_id="f", current=2, updated_at_ms=house.clock.now_ms())
    await house.store.apply_usage(KEY, update)

    assert woken(watcher)


async def test_a_re_check_wakes_only_by_what_differs(house: House) -> None:
    house.edge.answer = an_entity(a_boolean_feature("f"), updated_at_ms=1)
    watcher = house.changes.watch("customer-1", None)
    await house.fetcher.fetch(KEY)
    by_the_first_fetch = woken(watcher)
    await house.fetcher.fetch(KEY)
    by_the_same = woken(watcher)
    house.edge.answer = an_entity(a_boolean_feature("other"), updated_at_ms=2)
    await house.fetcher.fetch(KEY)
    by_another = woken(watcher)

    assert not by_the_first_fetch
    assert not by_the_same
    assert by_another


async def test_whatever_makes_all_suspect_wakes_all(house: House) -> None:
    watchers = [house.changes.watch(name, None) for name in ("customer-1", "customer-2")]
    published = PackagePublished(affects_all_customers=True)
    woken_by = []
    for happens in (house.feed_applier.followed, lambda: house.feed_applier.missed("junk")):
        happens()
        woken_by.append([woken(watcher) for watcher in watchers])
    await house.feed_applier.apply(published)
    woken_by.append([woken(watcher) for watcher in watchers])

    assert [[True, True]] * 3 == woken_by


async def test_another_customer_s_event_wakes_nobody(house: House) -> None:
    watcher = house.changes.watch("customer-1", None)
    events: list[FeedEvent] = [
        EntitlementsChanged(key=EntityKey("customer-2"), entity=Entity()),
        PackagePublished(affects_all_customers=False),
    ]
    for event in events:
        await house.feed_applier.apply(event)

    assert not woken(watcher)


@pytest.mark.parametrize(
    ("key", "wakes"),
    [
        (EntityKey("customer-1", "resource-1"), True),
        (EntityKey("customer-1"), True),
        (EntityKey("customer-1", "resource-2"), False),
        (EntityKey("customer-2", "resource-1"), False),
    ],
)
async def test_who_watches_a_resource_is_woken_for_it_and_its_customer(
    house: House, key: EntityKey, *, wakes: bool
) -> None:
    watcher = house.changes.watch("customer-1", "resource-1")
    house.changes.changed(key)

    assert wakes is woken(watcher)


async def test_who_is_forgotten_twice_counts_once(house: House) -> None:
    watcher = house.changes.watch("customer-1", None)
    house.changes.watch("customer-1", None)
    house.changes.forget(watcher)
    house.changes.forget(watcher)

    assert 1 == house.changes.count
