"""Entitlements as a person reads them."""

from dataclasses import replace

import pytest

from entitlements.admin.entitlement_rows import entitlement_rows
from entitlements.domain.entitlement import Entitlement, ResetPeriod
from entitlements.domain.reason import AccessDeniedReason
from tests.builders import NOW_MS, a_boolean_feature, a_credit, a_metered_feature, a_usage, an_entity

DAY_MS = 86_400_000


def test_a_meter_shows_how_full_it_is_and_when_it_starts_anew() -> None:
    seats = replace(
        a_metered_feature("seats"),
        usage_limit=8.0,
        usage=a_usage(6.0, period_start_ms=NOW_MS - DAY_MS, period_end_ms=NOW_MS + DAY_MS),
        reset_period=ResetPeriod.DAY,
    )
    (row,) = entitlement_rows(an_entity(seats), now_ms=NOW_MS)

    assert "6" == row.usage
    assert "8" == row.limit
    assert 75 == row.percent
    assert row.is_granted is True
    assert ["resets 2025-06-16 15:06 UTC"] == row.notes


def test_a_period_that_is_over_counts_from_zero() -> None:
    """As a check would answer now, and not as the cache was written."""
    seats = replace(a_metered_feature("seats"), usage_limit=8.0, usage=a_usage(8.0, period_end_ms=NOW_MS - 1))
    (row,) = entitlement_rows(an_entity(seats), now_ms=NOW_MS)

    assert "0" == row.usage
    assert 0 == row.percent
    assert row.is_granted is True


def test_a_denial_has_its_reason_in_words() -> None:
    flag = a_boolean_feature("flag", denied_reason=AccessDeniedReason.REVOKED)
    (row,) = entitlement_rows(an_entity(flag), now_ms=NOW_MS)

    assert row.is_granted is False
    assert "Revoked: the entitlement was revoked" == row.reason


def test_an_overdrawn_or_empty_limit_is_full_and_no_more() -> None:
    over = replace(a_metered_feature("a"), usage_limit=2.0, usage=a_usage(5.0))
    none = replace(a_metered_feature("b"), usage_limit=None, usage=a_usage(0.0))

    assert [100, 100] == [row.percent for row in entitlement_rows(an_entity(over, none), now_ms=NOW_MS)]


@pytest.mark.parametrize(
    ("entitlement", "is_granted", "is_used_up"),
    [
        (a_metered_feature(limit=1000, usage=a_usage(1000)), True, True),
        (a_metered_feature(limit=1000, usage=a_usage(999)), True, False),
        (a_metered_feature(limit=1000, usage=a_usage(1001)), False, False),
        (a_metered_feature(limit=1000, usage=a_usage(1000), has_soft_limit=True), True, False),
        (a_credit(limit=5, usage=a_usage(4.5)), True, True),
        (a_boolean_feature(), True, False),
    ],
)
def test_what_is_used_up_is_shown_before_the_next_unit_is_denied(
    entitlement: Entitlement, is_granted: bool, is_used_up: bool
) -> None:
    """A green "granted" beside 1,000 of 1,000 sent people on call away."""
    (row,) = entitlement_rows(an_entity(entitlement), now_ms=NOW_MS)

    assert is_granted == row.is_granted
    assert is_used_up == row.is_used_up
