"""Entitlements as a person reads them."""

from dataclasses import replace

from entitlements.admin.entitlement_rows import entitlement_rows
from entitlements.domain.entitlement import ResetPeriod
from entitlements.domain.reason import AccessDeniedReason
from tests.builders import NOW_MS, a_boolean_feature, a_metered_feature, a_usage, an_entity

DAY_MS = 86_400_000


def test_a_meter_shows_how_full_it_is_and_when_it_starts_anew() -> None:
    seats = replace(
        a_metered_feature("seats"),
        usage_limit=8.0,
        usage=a_usage(6.0, period_start_ms=NOW_MS - DAY_MS, period_end_ms=NOW_MS + DAY_MS),
        reset_period=ResetPeriod.DAY,
    )
    (row,) = entitlement_rows(an_entity(seats), now_ms=NOW_MS)

    assert ("6", "8", 75, True) == (row.usage, row.limit, row.percent, row.is_granted)
    assert ["resets 2025-06-16 15:06 UTC"] == row.notes


def test_a_period_that_is_over_counts_from_zero() -> None:
    """As a check would answer now, and not as the cache was written."""
    seats = replace(a_metered_feature("seats"), usage_limit=8.0, usage=a_usage(8.0, period_end_ms=NOW_MS - 1))
    (row,) = entitlement_rows(an_entity(seats), now_ms=NOW_MS)

    assert ("0", 0, True) == (row.usage, row.percent, row.is_granted)


def test_a_denial_has_its_reason_in_words() -> None:
    flag = a_boolean_feature("flag", denied_reason=AccessDeniedReason.REVOKED)
    (row,) = entitlement_rows(an_entity(flag), now_ms=NOW_MS)

    assert (False, "Revoked: the entitlement was revoked") == (row.is_granted, row.reason)


def test_an_overdrawn_or_empty_limit_is_full_and_no_more() -> None:
    over = replace(a_metered_feature("a"), usage_limit=2.0, usage=a_usage(5.0))
    none = replace(a_metered_feature("b"), usage_limit=None, usage=a_usage(0.0))

    assert [100, 100] == [row.percent for row in entitlement_rows(an_entity(over, none), now_ms=NOW_MS)]
