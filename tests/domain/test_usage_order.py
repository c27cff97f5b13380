"""Which of two usages of one meter is the newer, at the boundaries of its periods and of clocks."""

from dataclasses import replace

import pytest

from entitlements.domain.entitlement import ResetPeriod, Usage
from entitlements.domain.entity import CLOCK_TOLERANCE_MS as CLOCK_SKEW_MS
from entitlements.domain.entity import Entity, UsageUpdate, merge, with_usage
from entitlements.domain.evaluation import in_current_period
from tests.builders import NOW_MS, a_credit, a_metered_feature, a_usage, an_entity

DAY_MS = 24 * 3600 * 1000
YEAR_9999_MS = 253_370_764_800_000
MIDNIGHT_MS = NOW_MS - NOW_MS % DAY_MS
"""A day's period began then."""
TODAY = (MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS)
YESTERDAY = (MIDNIGHT_MS - DAY_MS, MIDNIGHT_MS)
TOMORROW = (MIDNIGHT_MS + DAY_MS, MIDNIGHT_MS + 2 * DAY_MS)
LATELY_MS = NOW_MS - 1000


def a_meter(current: float, period: tuple[int | None, int | None], *, updated_at_ms: int) -> Entity:
    usage = a_usage(current, updated_at_ms=updated_at_ms, period_start_ms=period[0], period_end_ms=period[1])
    return an_entity(
        a_metered_feature("m", limit=10, usage=usage, reset_period=ResetPeriod.DAY, period_anchor_ms=0)
    )


def a_push(
    current: float, period: tuple[int | None, int | None] = (None, None), *, updated_at_ms: int = LATELY_MS
) -> UsageUpdate:
    return UsageUpdate(
        sent_at_ms=NOW_MS,
        feature_id="m",
        current=current,
        updated_at_ms=updated_at_ms,
        period_start_ms=period[0],
        period_end_ms=period[1],
    )


def shown(entity: Entity) -> Usage:
    """As a read has it now."""
    return in_current_period(entity.features["m"], now_ms=NOW_MS).usage  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("push", "current"),
    [
        (a_push(10), 10),
        (a_push(10, TODAY), 10),
        (a_push(4, (None, None), updated_at_ms=MIDNIGHT_MS + 1), 4),
        (a_push(10, updated_at_ms=MIDNIGHT_MS - 1), 0),
        (a_push(10, YESTERDAY), 0),
    ],
    ids=["stamped now", "sent today", "just after midnight", "stamped yesterday", "sent yesterday"],
)
def test_a_push_after_the_end_of_the_held_period(push: UsageUpdate, current: float) -> None:
    """Sent without a period it belongs to the one that contains its stamp."""
    held = a_meter(9, YESTERDAY, updated_at_ms=MIDNIGHT_MS - 5)

    moved = with_usage(held, push) or held

    assert replace(shown(moved), updated_at_ms=0) == Usage(
        current=current, period_start_ms=TODAY[0], period_end_ms=TODAY[1]
    )


@pytest.mark.parametrize(
    "push",
    [
        a_push(0, YESTERDAY),
        a_push(0, (None, MIDNIGHT_MS)),
        a_push(0, TOMORROW),
        a_push(0, updated_at_ms=YEAR_9999_MS),
    ],
    ids=["yesterday", "its end alone", "tomorrow", "the year 9999"],
)
def test_a_push_of_another_period_changes_nothing(push: UsageUpdate) -> None:
    """However new its stamp: the current period's usage stands."""
    held = a_meter(10, TODAY, updated_at_ms=MIDNIGHT_MS + 5)

    assert with_usage(held, push) is None


def test_a_late_push_of_the_former_period_without_an_anchor_changes_nothing() -> None:
    """Its stamp lies before the period that is held; which one it belongs to need not be known."""
    usage = a_usage(10, updated_at_ms=5, period_start_ms=TODAY[0], period_end_ms=TODAY[1])
    held = an_entity(a_metered_feature("m", usage=usage))

    assert with_usage(held, a_push(3, updated_at_ms=MIDNIGHT_MS - 1)) is None


def test_a_period_that_begins_in_a_moment_by_the_clouds_clock_counts() -> None:
    """Two clocks differ: what the cloud sends of the period that begins for it is not lost."""
    soon = (NOW_MS + CLOCK_SKEW_MS - 1, NOW_MS + DAY_MS)
    held = a_meter(9, (MIDNIGHT_MS, soon[0]), updated_at_ms=LATELY_MS)

    moved = with_usage(held, a_push(1, soon, updated_at_ms=soon[0]))

    assert moved is not None
    assert 1 == shown(moved).current


@pytest.mark.parametrize("stamp", [YEAR_9999_MS, NOW_MS + 365 * DAY_MS, NOW_MS + CLOCK_SKEW_MS + 1])
@pytest.mark.parametrize("is_by_api", [True, False])
def test_a_stamp_in_the_future_holds_a_meter_until_the_api_speaks(stamp: int, is_by_api: bool) -> None:
    held = a_meter(100, TODAY, updated_at_ms=stamp)
    update = replace(a_push(3, TODAY), answered_at_ms=NOW_MS if is_by_api else None)
    fetched = a_meter(3, TODAY, updated_at_ms=LATELY_MS)

    moved = with_usage(held, update) or held
    merged = merge(held, fetched, answered_at_ms=NOW_MS if is_by_api else None)

    expected = 3 if is_by_api else 100
    assert expected == shown(moved).current
    assert expected == shown(merged).current


def test_the_api_does_not_take_back_what_a_clock_a_little_ahead_stamped() -> None:
    """Else a caller whose report was answered would read its meter as it stood before."""
    held = a_meter(5, TODAY, updated_at_ms=NOW_MS + CLOCK_SKEW_MS)

    merged = merge(held, a_meter(4, TODAY, updated_at_ms=LATELY_MS), answered_at_ms=NOW_MS)

    assert 5 == shown(merged).current


def test_a_balance_of_a_former_period_does_not_replace_the_current_one() -> None:
    held = an_entity(a_credit(usage=a_usage(2, updated_at_ms=5, period_end_ms=TODAY[1])))
    push = UsageUpdate(currency_id="tokens", current=9, updated_at_ms=LATELY_MS, period_end_ms=MIDNIGHT_MS)

    assert with_usage(held, push) is None


def test_an_entity_that_was_read_before_the_boundary_does_not_bring_back_its_usage() -> None:
    """An Edge that lags sends the former period's meter."""
    held = a_meter(2, TODAY, updated_at_ms=MIDNIGHT_MS + 5)

    merged = merge(held, a_meter(9, YESTERDAY, updated_at_ms=MIDNIGHT_MS + 9))

    assert 2 == shown(merged).current


def test_a_push_after_the_end_of_a_period_that_has_no_next_belongs_to_none() -> None:
    """An anchor without a reset period gives no period."""
    usage = a_usage(9, updated_at_ms=5, period_end_ms=MIDNIGHT_MS)
    held = an_entity(a_metered_feature("m", usage=usage, period_anchor_ms=0))

    moved = with_usage(held, a_push(3))

    assert moved is not None
    assert a_usage(3, updated_at_ms=LATELY_MS) == shown(moved)
