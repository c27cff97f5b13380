"""How two states of an entity become one, and how a meter moves."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.domain.entitlement import (
    NO_TIMESTAMP_MS,
    CreditEntitlement,
    Entitlement,
    MeteredEntitlement,
    MeterType,
    ResetPeriod,
    Usage,
)
from entitlements.domain.entity import Entity, UsageUpdate, is_outdated, merge, with_usage
from entitlements.domain.reason import AccessDeniedReason
from tests.builders import (
    a_boolean_feature,
    a_credit,
    a_metered_feature,
    a_numeric_feature,
    a_usage,
    an_entity,
)
from tests.domain.strategies import entities, updates


def _meters(entity: Entity) -> Mapping[str, Usage]:
    """The readings of all that is counted, by id."""
    everything: list[Entitlement] = [*entity.features.values(), *entity.credits.values()]
    return {
        each.currency.currency_id if isinstance(each, CreditEntitlement) else each.feature.id: each.usage
        for each in everything
        if isinstance(each, MeteredEntitlement | CreditEntitlement)
    }


@pytest.mark.parametrize(
    ("entity", "is_empty"),
    [
        (an_entity(), True),
        (an_entity(denied_reason=AccessDeniedReason.CUSTOMER_NOT_FOUND), True),
        (an_entity(a_boolean_feature()), False),
        (an_entity(a_credit()), False),
    ],
)
def test_entity_without_entitlements_is_empty(entity: Entity, is_empty: bool) -> None:
    """A state-level reason entitles to nothing; a balance does."""
    assert is_empty is entity.is_empty


def test_entity_holds_nothing_by_default() -> None:
    """An entity's defaults are an empty, unstamped set."""
    assert an_entity(updated_at_ms=NO_TIMESTAMP_MS) == Entity()


@pytest.mark.parametrize(
    ("arrived_at_ms", "held_at_ms", "outdated"),
    [(1, 2, True), (2, 2, False), (3, 2, False), (NO_TIMESTAMP_MS, 2, False), (2, NO_TIMESTAMP_MS, False)],
)
def test_only_an_older_stamp_is_outdated(arrived_at_ms: int, held_at_ms: int, outdated: bool) -> None:
    """Equal or newer writes, and what has no timestamp always writes (contract/redis.md, Rules)."""
    assert outdated is is_outdated(arrived_at_ms, held_at_ms)


@pytest.mark.parametrize("stamp", [1, 2, 3, NO_TIMESTAMP_MS])
def test_older_newer_equal_or_unstamped_set_replaces_the_held_one(stamp: int) -> None:
    """The whole set is the new one's: what it lacks is gone, and so is the old reason."""
    held = an_entity(
        a_boolean_feature("old"), a_credit("old"), denied_reason=AccessDeniedReason.REVOKED, updated_at_ms=2
    )
    arrived = an_entity(a_boolean_feature("new"), a_credit("new"), updated_at_ms=stamp)

    assert arrived == merge(held, arrived)


def test_overtaken_set_is_ignored() -> None:
    """What was reported before what is held changes no entitlement and no reason, however it is stamped."""
    held = an_entity(a_boolean_feature("sent last"), updated_at_ms=1)
    arrived = an_entity(a_boolean_feature("old"), denied_reason=AccessDeniedReason.REVOKED, updated_at_ms=2)

    assert held == merge(held, arrived, is_overtaken=True)


def test_better_newest_timestamp_wins_in_memory() -> None:
    """A new set with an older reading keeps the newer reading: who reported reads its own write."""
    held = an_entity(
        a_metered_feature(usage=a_usage(3, updated_at_ms=20)),
        a_credit(usage=a_usage(4, updated_at_ms=20)),
        updated_at_ms=1,
    )
    arrived = an_entity(
        a_metered_feature(limit=9, usage=a_usage(2, updated_at_ms=10)),
        a_credit(limit=9, usage=a_usage(2, updated_at_ms=10)),
        updated_at_ms=2,
    )

    merged = merge(held, arrived)

    expected = an_entity(
        a_metered_feature(limit=9, usage=a_usage(3, updated_at_ms=20)),
        a_credit(limit=9, usage=a_usage(4, updated_at_ms=20)),
        updated_at_ms=2,
    )
    assert expected == merged


def test_newer_reading_of_an_older_set_counts() -> None:
    """The set's timestamp and a reading's are two things."""
    held = an_entity(a_metered_feature(limit=9, usage=a_usage(2, updated_at_ms=10)), updated_at_ms=2)
    arrived = an_entity(a_metered_feature(usage=a_usage(3, updated_at_ms=20)), updated_at_ms=1)

    merged = merge(held, arrived, is_overtaken=True)

    assert (
        an_entity(a_metered_feature(limit=9, usage=a_usage(3, updated_at_ms=20)), updated_at_ms=2) == merged
    )


def test_feature_that_changed_its_kind_takes_no_reading_from_the_old_kind() -> None:
    """A number that becomes counted starts with the reading it came with."""
    held = an_entity(a_numeric_feature("f"), updated_at_ms=1)
    arrived = an_entity(a_metered_feature("f", usage=a_usage(1)), updated_at_ms=2)

    assert arrived == merge(held, arrived)


def test_meter_that_became_a_plain_number_keeps_no_reading() -> None:
    """A feature that is counted no more is as it arrived."""
    held = an_entity(a_metered_feature("f", usage=a_usage(1)), updated_at_ms=1)
    arrived = an_entity(a_numeric_feature("f"), updated_at_ms=2)

    assert arrived == merge(held, arrived)


def test_usage_update_moves_one_meter() -> None:
    """The reading is replaced, with the period that it carries; nothing else moves."""
    entity = an_entity(a_metered_feature("f", limit=9), a_metered_feature("g"), a_credit())
    update = UsageUpdate(feature_id="f", current=3, updated_at_ms=2, period_start_ms=100, period_end_ms=200)

    moved = with_usage(entity, update)

    usage = a_usage(3, updated_at_ms=2, period_start_ms=100, period_end_ms=200)
    assert (
        an_entity(a_metered_feature("f", limit=9, usage=usage), a_metered_feature("g"), a_credit()) == moved
    )


def test_usage_update_moves_one_balance() -> None:
    """A currency's id means the balance, also where a feature has the same id."""
    entity = an_entity(a_metered_feature("tokens"), a_credit("tokens"))

    moved = with_usage(entity, UsageUpdate(currency_id="tokens", current=3, updated_at_ms=2))

    expected = an_entity(a_metered_feature("tokens"), a_credit("tokens", usage=a_usage(3, updated_at_ms=2)))
    assert expected == moved


@pytest.mark.parametrize("stamp", [NO_TIMESTAMP_MS, 100, 199])
def test_better_usage_push_without_a_period_keeps_the_period(stamp: int) -> None:
    """It belongs to the period that contains its timestamp."""
    held = a_usage(1, updated_at_ms=1, period_start_ms=100, period_end_ms=200)
    entity = an_entity(a_metered_feature("f", usage=held))

    moved = with_usage(entity, UsageUpdate(feature_id="f", current=2, updated_at_ms=stamp))

    kept = a_usage(2, updated_at_ms=stamp, period_start_ms=100, period_end_ms=200)
    assert an_entity(a_metered_feature("f", usage=kept)) == moved


@pytest.mark.parametrize(
    ("anchor_ms", "start_ms", "end_ms"),
    [(0, 3_600_000, 7_200_000), (None, None, None)],
    ids=["anchored", "unknown"],
)
def test_usage_push_after_the_period_belongs_to_the_next_one(
    anchor_ms: int | None, start_ms: int | None, end_ms: int | None
) -> None:
    """Were it put into the period that is over, the meter would read zero and grant what is used up."""
    over = a_usage(9, updated_at_ms=1, period_start_ms=0, period_end_ms=3_600_000)
    meter = replace(
        a_metered_feature("f", usage=over), reset_period=ResetPeriod.HOUR, period_anchor_ms=anchor_ms
    )

    moved = with_usage(an_entity(meter), UsageUpdate(feature_id="f", current=10, updated_at_ms=3_600_000))

    assert moved is not None
    usage = _meters(moved)["f"]
    assert usage.current == 10
    assert start_ms == usage.period_start_ms
    assert end_ms == usage.period_end_ms


@pytest.mark.parametrize(
    "update",
    [
        UsageUpdate(feature_id="f", current=0, updated_at_ms=150, period_start_ms=0, period_end_ms=100),
        UsageUpdate(feature_id="f", current=0, updated_at_ms=150, period_end_ms=140),
        UsageUpdate(feature_id="f", current=0, updated_at_ms=0, period_start_ms=0, period_end_ms=100),
        UsageUpdate(feature_id="f", current=0, updated_at_ms=99),
    ],
    ids=["newer push of a past period", "over when sent", "unstamped", "stamped before this period"],
)
def test_usage_of_a_former_period_moves_nothing(update: UsageUpdate) -> None:
    """What was used last month says nothing of this one."""
    held = a_usage(10, updated_at_ms=50, period_start_ms=100, period_end_ms=200)

    assert with_usage(an_entity(a_metered_feature("f", usage=held)), update) is None


def test_answer_of_the_api_wins_over_a_stamp_in_the_future() -> None:
    """An event dated in the year 9999 must not freeze its meter; a clock a little ahead is no matter."""
    year_9999 = 253_402_300_799_000
    now_ms = 1_750_000_000_000
    frozen = an_entity(a_metered_feature("f", usage=a_usage(9, updated_at_ms=year_9999)))
    sent = a_usage(3, updated_at_ms=now_ms)
    arrived = an_entity(a_metered_feature("f", usage=sent))
    update = UsageUpdate(feature_id="f", current=3, updated_at_ms=now_ms)

    assert arrived == merge(frozen, arrived, answered_at_ms=now_ms)
    assert arrived == with_usage(frozen, replace(update, answered_at_ms=now_ms))
    assert with_usage(frozen, update) is None
    near = an_entity(a_metered_feature("f", usage=a_usage(9, updated_at_ms=now_ms + 1_000)))
    assert near == merge(near, arrived, answered_at_ms=now_ms)


@pytest.mark.parametrize(
    ("entity", "update"),
    [
        (an_entity(), UsageUpdate(feature_id="f", current=1)),
        (an_entity(a_boolean_feature("f")), UsageUpdate(feature_id="f", current=1)),
        (an_entity(a_metered_feature("f")), UsageUpdate(currency_id="f", current=1)),
        (an_entity(a_metered_feature("f")), UsageUpdate(current=1)),
        (
            an_entity(a_metered_feature("f", usage=a_usage(1, updated_at_ms=3))),
            UsageUpdate(feature_id="f", current=2, updated_at_ms=2),
        ),
        (
            an_entity(a_credit(usage=a_usage(1, updated_at_ms=3))),
            UsageUpdate(currency_id="tokens", current=2, updated_at_ms=2),
        ),
    ],
    ids=["not held", "not counted", "no such balance", "of nothing", "older", "older balance"],
)
def test_usage_update_that_moves_nothing_is_none(entity: Entity, update: UsageUpdate) -> None:
    """There is no such meter, or a newer state of it is known."""
    assert with_usage(entity, update) is None


def test_unstamped_usage_update_always_writes() -> None:
    """Timestamp 0 is no timestamp (contract/redis.md, Rules)."""
    entity = an_entity(a_metered_feature("f", usage=a_usage(5, updated_at_ms=9)))

    moved = with_usage(entity, UsageUpdate(feature_id="f", current=1))

    assert an_entity(a_metered_feature("f", usage=a_usage(1, updated_at_ms=NO_TIMESTAMP_MS))) == moved


@pytest.mark.parametrize(
    ("meter_type", "held", "arrived", "newest"),
    [
        (MeterType.INCREMENTAL, a_usage(2), a_usage(1), a_usage(2)),
        (MeterType.INCREMENTAL, a_usage(2), a_usage(3), a_usage(3)),
        (MeterType.INCREMENTAL, a_usage(2), a_usage(2, period_start_ms=1), a_usage(2, period_start_ms=1)),
        (MeterType.FLUCTUATING, a_usage(2), a_usage(1), a_usage(1)),
        (MeterType.INCREMENTAL, a_usage(2), a_usage(1, period_end_ms=9), a_usage(1, period_end_ms=9)),
        (MeterType.INCREMENTAL, a_usage(2), a_usage(1, updated_at_ms=2), a_usage(1, updated_at_ms=2)),
        (
            MeterType.INCREMENTAL,
            a_usage(2, updated_at_ms=NO_TIMESTAMP_MS),
            a_usage(1, updated_at_ms=NO_TIMESTAMP_MS),
            a_usage(1, updated_at_ms=NO_TIMESTAMP_MS),
        ),
    ],
    ids=["smaller", "larger", "equal", "fluctuating", "next period", "later", "unstamped"],
)
def test_two_readings_of_one_millisecond(
    meter_type: MeterType, held: Usage, arrived: Usage, newest: Usage
) -> None:
    """Within a period an incremental meter only grows, so of two equally old readings the larger is newer."""
    merged = merge(
        an_entity(a_metered_feature(usage=held, meter_type=meter_type)),
        an_entity(a_metered_feature(usage=arrived, meter_type=meter_type)),
    )

    assert an_entity(a_metered_feature(usage=newest, meter_type=meter_type)) == merged


def test_balance_may_shrink_within_a_millisecond() -> None:
    """Credits are also granted, so of two equally old balances the later to arrive counts."""
    entity = an_entity(a_credit(usage=a_usage(2)))

    moved = with_usage(entity, UsageUpdate(currency_id="tokens", current=1, updated_at_ms=1))

    assert an_entity(a_credit(usage=a_usage(1))) == moved


@given(entities())
def test_merging_an_entity_with_itself_changes_nothing(entity: Entity) -> None:
    """What is sent twice is known once."""
    assert entity == merge(entity, entity)


@given(entities(), entities())
def test_merging_again_changes_nothing(held: Entity, arrived: Entity) -> None:
    """An event that is delivered twice does what it does once."""
    once = merge(held, arrived)

    assert once == merge(once, arrived)


@given(entities(parity=0), entities(parity=1))
def test_better_order_of_two_arrivals_does_not_matter(one: Entity, other: Entity) -> None:
    """The one that was reported last holds, whichever came first; each usage is the newest."""
    assert merge(one, other) == merge(other, one, is_overtaken=True)


@given(entities(), entities())
def test_usage_never_goes_back_in_time(held: Entity, arrived: Entity) -> None:
    """A merged reading is as new as the newer of the two."""
    merged = merge(held, arrived)

    before, news = _meters(held), _meters(arrived)
    for id_, usage in _meters(merged).items():
        known = [meters[id_].updated_at_ms for meters in (before, news) if id_ in meters]
        assert max(known) == usage.updated_at_ms


@given(entities(), st.lists(updates(), max_size=8))
def test_usage_updates_never_go_back_in_time(entity: Entity, sent: list[UsageUpdate]) -> None:
    """Whatever order updates arrive in, each meter ends at its newest stamp."""
    state = entity
    for update in sent:
        state = with_usage(state, update) or state

    for id_, usage in _meters(state).items():
        stamps = [each.updated_at_ms for each in sent if id_ in {each.feature_id, each.currency_id}]
        assert max([_meters(entity)[id_].updated_at_ms, *stamps]) == usage.updated_at_ms


@given(entities(), updates())
def test_usage_update_leaves_the_entity_it_came_to_as_it_was(entity: Entity, update: UsageUpdate) -> None:
    """A reader on another thread sees one state or the next: entities are replaced, never changed."""
    before = repr(entity)

    with_usage(entity, update)

    assert before == repr(entity)
