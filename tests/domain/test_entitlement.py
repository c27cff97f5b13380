"""Features, currencies and the kinds of entitlement."""

import pytest

from entitlements.domain.entitlement import (
    CreditEntitlement,
    Currency,
    Entitlement,
    EntitlementKind,
    FeatureType,
    MeteredEntitlement,
    MeterType,
    NumericEntitlement,
    Usage,
)
from tests.builders import (
    a_boolean_feature,
    a_credit,
    a_feature,
    a_metered_feature,
    a_numeric_feature,
    a_usage,
    an_enum_feature,
)


@pytest.mark.parametrize(
    ("entitlement", "kind"),
    [
        (a_boolean_feature(), EntitlementKind.BOOLEAN),
        (a_numeric_feature(), EntitlementKind.NUMERIC),
        (a_metered_feature(), EntitlementKind.METERED),
        (an_enum_feature(), EntitlementKind.ENUM),
        (a_credit(), EntitlementKind.CREDIT),
    ],
)
def test_each_entitlement_answers_in_its_own_arm(entitlement: Entitlement, kind: EntitlementKind) -> None:
    """The class says the arm."""
    assert kind is entitlement.kind


@pytest.mark.parametrize(
    ("feature_type", "meter_type", "is_metered"),
    [
        (FeatureType.NUMBER, MeterType.FLUCTUATING, True),
        (FeatureType.NUMBER, MeterType.INCREMENTAL, True),
        (FeatureType.NUMBER, MeterType.NONE, False),
        (FeatureType.NUMBER, None, False),
        (FeatureType.BOOLEAN, MeterType.INCREMENTAL, False),
        (FeatureType.ENUM, None, False),
    ],
)
def test_only_counted_numbers_are_metered(
    feature_type: FeatureType, meter_type: MeterType | None, is_metered: bool
) -> None:
    """A meter makes a number metered, and nothing else (contract/grpc.md, How values map)."""
    feature = a_feature(feature_type=feature_type, meter_type=meter_type)

    assert is_metered is feature.is_metered


@pytest.mark.parametrize(("spent", "remaining"), [(0, 5), (2, 3), (7, -2)])
def test_balance_is_what_remains(spent: float, remaining: float) -> None:
    """A soft limit may be overdrawn, then the balance is negative."""
    assert remaining == a_credit(limit=5, usage=a_usage(spent)).remaining


def test_terms_that_are_missing_grant_nothing_extra() -> None:
    """No limit is lifted, nothing is used and nothing is stamped unless the cloud says so."""
    feature = a_feature(feature_type=FeatureType.NUMBER)
    numeric, metered = NumericEntitlement(feature=feature), MeteredEntitlement(feature=feature)
    credit = CreditEntitlement(currency=Currency(currency_id="tokens"))

    assert Usage(current=0.0, updated_at_ms=0) == metered.usage
    assert Usage(current=0.0, updated_at_ms=0) == credit.usage
    assert not numeric.is_unlimited
    assert not metered.is_unlimited
    assert not credit.has_soft_limit
    assert 0.0 == credit.usage_limit
    assert 0.0 == credit.remaining


def test_currency_can_be_hashed_whatever_its_metadata() -> None:
    """The customer's own JSON object takes no part in the hash."""
    plain, described = a_credit().currency, Currency(currency_id="tokens", additional_meta_data={"a": []})

    assert hash(plain) == hash(described)
