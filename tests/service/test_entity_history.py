"""The history of entities, noted as real changes pass through the tiers; bounded in every way."""

import pytest

from entitlements.domain.difference import Difference
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate
from entitlements.domain.entity_history import HistoryEntry, Origin
from entitlements.domain.events import EntitlementsChanged, UsageChanged
from entitlements.domain.usage import UsageReceipt
from entitlements.service import entity_history
from entitlements.service.entity_history import EntityHistory
from entitlements.service.history_document import history_document
from tests.builders import A_KEY, a_boolean_feature, a_metered_feature, a_report, a_usage, an_entity
from tests.cache.samples import cached
from tests.fakes import FakeClock
from tests.service.conftest import House, build_house


def furnished() -> tuple[House, EntityHistory]:
    house = build_house()
    history = EntityHistory(house.clock)
    house.store._history = history
    return house, history


def moved(house: House, current: float) -> UsageUpdate:
    return UsageUpdate(feature_id="f", current=current, updated_at_ms=house.clock.wall_ms + int(current))


def listed(
    history: EntityHistory, key: EntityKey = A_KEY
) -> list[tuple[Origin, str, str | None, str | None]]:
    """Oldest first."""
    return [
        (entry.origin, each.field, each.ours, each.theirs)
        for entry in reversed(history.of(key))
        for each in entry.differences
    ]


async def test_every_way_by_which_an_entity_changes_is_reported() -> None:
    """Fetched, sent by the feed, reported, refreshed, repaired, taken away and evicted."""
    house, history = furnished()
    house.edge.answer = an_entity(a_metered_feature("f", usage=a_usage(1)))
    await house.fetcher.fetch(A_KEY)
    house.clock.advance(1)
    await house.feed_applier.apply(UsageChanged(key=A_KEY, update=moved(house, 2)))
    house.sink.receipts = [
        UsageReceipt(key=A_KEY, feature_id="f", updates=(moved(house, 3),), measurement_id="m")
    ]
    await house.usage_reporter.report_usage(a_report("f"), budget_seconds=9)
    house.api.answer = an_entity(a_boolean_feature("g"))
    house.clock.advance(1)
    await house.maintenance.refresh(A_KEY, budget_seconds=9)
    house.edge.answer = house.api.answer = an_entity(
        a_boolean_feature("h"), updated_at_ms=house.clock.wall_ms
    )
    house.clock.advance(1)
    await house.fetcher.fetch(A_KEY, origin=Origin.AUDIT)
    await house.feed_applier.apply(EntitlementsChanged(key=A_KEY, entity=None))
    await house.store.store(A_KEY, cached(Entity()), origin=Origin.SNAPSHOT)
    await house.maintenance.evict([A_KEY])
    await house.fetcher.stop()

    assert [
        (Origin.FETCH, "known", None, "1 entitlement"),
        (Origin.FEED, "usage", "1", "2"),
        (Origin.REPORT, "usage", "2", "3"),
        (Origin.RELOAD, "entitlement", "metered", None),
        (Origin.RELOAD, "entitlement", None, "boolean"),
        (Origin.AUDIT, "entitlement", "boolean", None),
        (Origin.AUDIT, "entitlement", None, "boolean"),
        (Origin.FEED, "known", "1 entitlement", None),
        (Origin.SNAPSHOT, "known", None, "0 entitlements"),
        (Origin.EVICT, "known", "0 entitlements", None),
    ] == listed(history)


async def test_what_says_the_same_again_is_no_change() -> None:
    """Re-checks would else be all there is to see."""
    house, history = furnished()
    house.edge.answer = an_entity(a_boolean_feature("f"))
    for _ in range(3):
        house.clock.advance(1)
        await house.fetcher.fetch(A_KEY)

    assert 1 == len(history.of(A_KEY))


async def test_usage_that_moves_on_is_one_entry() -> None:
    """From where to where, how often and since when; another change between begins a new one."""
    house, history = furnished()
    house.edge.answer = an_entity(a_metered_feature("f", usage=a_usage(0)))
    await house.fetcher.fetch(A_KEY)
    began_ms = house.clock.wall_ms + 1000
    for current in range(1, 101):
        house.clock.advance(1)
        await house.feed_applier.apply(UsageChanged(key=A_KEY, update=moved(house, current)))
    await house.store.apply_usage(A_KEY, moved(house, 101), origin=Origin.REPORT)

    reported, counted, first = history.of(A_KEY)
    assert Origin.REPORT is reported.origin
    assert Difference("usage", "feature f", "0", "100") == counted.differences[0]
    assert 100 == counted.times
    assert began_ms == counted.first_ms
    assert house.clock.wall_ms == counted.last_ms
    assert 1 == first.times


def changed(history: EntityHistory, key: EntityKey, times: int = 1, *, fields: int = 1) -> None:
    differences = [Difference("entitlement", f"feature {number}", None, "x" * 80) for number in range(fields)]
    for _ in range(times):
        history.note_differences(key, differences, Origin.FEED)


def test_the_last_of_each_entity_are_kept() -> None:
    history = EntityHistory(FakeClock())
    for number in range(entity_history.MAX_ENTRIES + 5):
        history.note_differences(A_KEY, [Difference("state", "", None, str(number))], Origin.FEED)

    kept = [each.differences[0].theirs for each in history.of(A_KEY)]
    assert [str(number) for number in range(entity_history.MAX_ENTRIES + 4, 4, -1)] == kept


def test_of_many_entities_those_that_changed_last_are_kept() -> None:
    history = EntityHistory(FakeClock())
    keys = [EntityKey(f"c{number}") for number in range(entity_history.MAX_ENTITIES + 1)]
    for key in keys[:-1]:
        changed(history, key)
    changed(history, keys[0])
    changed(history, keys[-1])

    assert [] == history.of(keys[1])
    assert 2 == len(history.of(keys[0]))
    assert 1 == len(history.of(keys[-1]))


def test_all_of_it_is_bounded_by_bytes() -> None:
    """As large as can be, of as many as can be; and what was forgotten is given back."""
    history = EntityHistory(FakeClock())
    for number in range(entity_history.MAX_ENTITIES):
        changed(history, EntityKey(f"c{number}"), entity_history.MAX_ENTRIES, fields=50)

    newest = history.of(EntityKey(f"c{entity_history.MAX_ENTITIES - 1}"))
    assert history.size_bytes <= entity_history.MAX_SIZE_BYTES
    assert history.size_bytes > entity_history.MAX_SIZE_BYTES * 0.9
    assert [] == history.of(EntityKey("c0"))
    assert entity_history.MAX_ENTRIES == len(newest)
    assert entity_history.MAX_DIFFERENCES == len(newest[0].differences)
    assert 42 == newest[0].omitted


def test_as_a_document() -> None:
    entry = HistoryEntry(
        first_ms=0,
        last_ms=61_000,
        origin=Origin.REPORT,
        differences=(Difference("usage", "feature f", "1", "3"), Difference("known", "", None, "x")),
        times=2,
    )

    (document,) = history_document([entry])

    assert {"at": "1970-01-01T00:01:01+00:00", "since": "1970-01-01 00:00:00 UTC", "times": 2} == {
        name: document[name] for name in ("at", "since", "times")
    }
    assert [
        {"what": "feature f: usage", "before": "1", "after": "3"},
        {"what": "known", "before": None, "after": "x"},
    ] == document["changes"]


@pytest.mark.parametrize("origin", Origin)
def test_each_origin_has_words(origin: Origin) -> None:
    entry = HistoryEntry(first_ms=0, last_ms=0, origin=origin, differences=())

    assert history_document([entry])[0]["text"]
