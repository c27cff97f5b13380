"""What differs from the cloud is reported by kind, and nothing that only seems to differ is."""

from dataclasses import replace

import pytest

from entitlements.domain.drift import Drift, drift_between
from entitlements.domain.entitlement import Entitlement, Usage
from entitlements.domain.entity import Entity
from entitlements.domain.reason import AccessDeniedReason
from tests.builders import (
    STAMP_MS,
    a_boolean_feature,
    a_credit,
    a_metered_feature,
    a_numeric_feature,
    a_usage,
    an_entity,
    an_enum_feature,
)

NOW_MS = STAMP_MS + 1000
DENIED = AccessDeniedReason.REVOKED


def kinds(held: Entity, cloud: Entity) -> list[tuple[Drift, str]]:
    return [(Drift(each.field), each.element) for each in drift_between(held, cloud, now_ms=NOW_MS)]


@pytest.mark.parametrize(
    ("ours", "theirs", "kind"),
    [
        (a_boolean_feature("x"), a_boolean_feature("x", denied_reason=DENIED), Drift.ACCESS),
        (a_boolean_feature("x"), a_numeric_feature("x"), Drift.ACCESS),
        (a_numeric_feature("x", value=5), a_numeric_feature("x", value=6), Drift.LIMIT),
        (a_numeric_feature("x"), a_numeric_feature("x", is_unlimited=True), Drift.LIMIT),
        (an_enum_feature("x"), an_enum_feature("x", values=("eu",)), Drift.LIMIT),
        (a_metered_feature("x", limit=5), a_metered_feature("x", limit=None), Drift.LIMIT),
        (a_metered_feature("x"), a_metered_feature("x", usage=a_usage(3)), Drift.USAGE),
        (a_boolean_feature("x"), a_boolean_feature("x", valid_until_ms=NOW_MS), Drift.DETAILS),
    ],
)
def test_what_differs_of_a_feature_is_reported_by_its_kind(
    ours: Entitlement, theirs: Entitlement, kind: Drift
) -> None:
    same = a_boolean_feature("same")

    assert [(kind, "feature x")] == kinds(an_entity(same, ours), an_entity(same, theirs))
    assert [] == kinds(an_entity(same, ours), an_entity(ours, same))


def test_what_differs_of_a_credit_is_reported_by_its_kind() -> None:
    held, limit = a_credit("x"), a_credit("x", limit=7)
    spent = a_credit("x", usage=a_usage(3))

    assert [(Drift.LIMIT, "currency x")] == kinds(an_entity(held), an_entity(limit))
    assert [(Drift.USAGE, "currency x")] == kinds(an_entity(held), an_entity(spent))


def test_what_one_side_lacks_is_distinguished_from_what_it_has_too_much() -> None:
    """A feature and a currency of one id are two."""
    feature, credit = a_boolean_feature("x"), a_credit("x")

    assert [(Drift.MISSING, "currency x")] == kinds(an_entity(feature), an_entity(feature, credit))
    assert [(Drift.EXTRA, "feature x")] == kinds(an_entity(feature, credit), an_entity(credit))


def test_a_customer_that_only_one_side_knows() -> None:
    unknown = an_entity(denied_reason=AccessDeniedReason.CUSTOMER_NOT_FOUND)

    assert [(Drift.CUSTOMER, "")] == kinds(an_entity(), unknown)


@pytest.mark.parametrize(
    "usage",
    [
        replace(a_usage(3), is_estimate=True),
        a_usage(3, period_start_ms=NOW_MS - 9, period_end_ms=NOW_MS),
    ],
    ids=["our estimate", "of a period that is over"],
)
def test_usage_that_cannot_be_compared_is_not(usage: Usage) -> None:
    assert [] == kinds(an_entity(a_metered_feature(usage=usage)), an_entity(a_metered_feature()))


def test_stamps_are_no_difference() -> None:
    """Two ways to the cloud may stamp one state differently; a period that goes on is compared."""
    held = a_metered_feature(usage=a_usage(3, period_end_ms=NOW_MS + 1))
    cloud = a_metered_feature(usage=a_usage(3, updated_at_ms=NOW_MS))
    other = a_metered_feature(usage=a_usage(4, updated_at_ms=NOW_MS))

    assert [] == kinds(an_entity(held), an_entity(cloud, updated_at_ms=NOW_MS))
    assert [(Drift.USAGE, "feature seats")] == kinds(an_entity(held), an_entity(other))
