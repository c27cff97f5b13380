"""Reading entries that others wrote: the older form, what is unknown, and what is wrong."""

from collections.abc import Mapping
from typing import Any

import pytest

from entitlements.cache import decoding
from entitlements.cache.decoding import entitlement_from, reason_from, usage_from
from entitlements.domain.entitlement import (
    BooleanEntitlement,
    CreditEntitlement,
    Currency,
    Entitlement,
    Feature,
    FeatureType,
    MeteredEntitlement,
    MeterType,
    NumericEntitlement,
    ResetPeriod,
    ResetPeriodConfiguration,
    Usage,
)
from entitlements.domain.reason import AccessDeniedReason
from entitlements.json_fields import Fields, Malformed

METER = {"id": "seats", "featureType": "NUMBER", "meterType": "Incremental"}
SEATS = Feature(id="seats", feature_type=FeatureType.NUMBER, meter_type=MeterType.INCREMENTAL)


def decoded(terms: Mapping[str, Any], **parts: object) -> Entitlement | None:
    return entitlement_from(Fields({"calculatedEntitlement": terms, **parts}, "entry"))


def test_the_older_form_is_read() -> None:
    entitlement = decoded(
        {"feature": METER, "usageLimit": 10},
        featureUsage={
            "currentUsage": 3,
            "usagePeriodStart": 1,
            "nextResetDate": 2,
            "usageUpdatedAt": 3,
            "resetPeriod": "MONTH",
            "usagePeriodAnchor": 4,
            "resetPeriodConfiguration": {"monthlyAccordingTo": "SubscriptionStart"},
        },
    )

    assert entitlement == MeteredEntitlement(
        feature=SEATS,
        usage_limit=10,
        usage=Usage(current=3, period_start_ms=1, period_end_ms=2, updated_at_ms=3),
        reset_period=ResetPeriod.MONTH,
        reset_period_configuration=ResetPeriodConfiguration(
            field="monthlyAccordingTo", according_to="SubscriptionStart"
        ),
        period_anchor_ms=4,
    )


def test_the_newer_form_wins_where_both_are_there() -> None:
    entitlement = decoded(
        {
            "type": "FEATURE",
            "feature": METER,
            "resetPeriod": "YEAR",
            "usagePeriodAnchor": 5,
            "resetPeriodConfiguration": {"yearlyAccordingTo": "SubscriptionStart"},
        },
        usageData={
            "currentUsage": 3,
            "usagePeriodEnd": 6,
            "nextResetDate": 2,
            "resetPeriod": "MONTH",
            "usagePeriodAnchor": 4,
            "resetPeriodConfiguration": {"monthlyAccordingTo": "SubscriptionStart"},
        },
        featureUsage={"currentUsage": 4},
    )

    assert entitlement == MeteredEntitlement(
        feature=SEATS,
        usage=Usage(current=3, period_end_ms=6),
        reset_period=ResetPeriod.YEAR,
        reset_period_configuration=ResetPeriodConfiguration(
            field="yearlyAccordingTo", according_to="SubscriptionStart"
        ),
        period_anchor_ms=5,
    )


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"type": "FEATURE"},
        {"type": "CREDIT"},
        {"type": "FEATURE", "feature": None, "currency": None},
        {"type": "SEAT", "feature": METER},
        {"type": "CREDIT", "feature": METER},
        {"feature": {"id": "f", "featureType": "JSON"}},
        {"feature": {"id": "f"}},
        None,
    ],
)
def test_what_is_neither_a_feature_nor_a_credit_is_skipped(terms: dict[str, object]) -> None:
    assert decoded(terms) is None


def test_an_entry_without_any_usage_has_none() -> None:
    assert decoded({"feature": METER}) == MeteredEntitlement(feature=SEATS)


def test_unknown_names_are_tolerated() -> None:
    feature = {"id": "f", "featureType": "NUMBER", "meterType": "Quantum", "new": 1}
    terms = {"feature": feature, "resetPeriod": "EON", "accessDeniedReason": "NotToday", "new": {}}

    assert decoded(terms, usageData={"new": 1}, more=1) == NumericEntitlement(
        feature=Feature(id="f", feature_type=FeatureType.NUMBER), denied_reason=AccessDeniedReason.UNKNOWN
    )


def test_an_unknown_reset_period_is_none() -> None:
    terms = {"feature": METER, "resetPeriod": "EON", "resetPeriodConfiguration": {"eon": "x"}}

    assert decoded(terms) == MeteredEntitlement(feature=SEATS)


def test_a_unit_transformation_without_a_divisor_is_none() -> None:
    feature = {"id": "f", "featureType": "BOOLEAN", "unitTransformation": {"round": "UP"}}

    assert decoded({"feature": feature}) == BooleanEntitlement(
        feature=Feature(id="f", feature_type=FeatureType.BOOLEAN)
    )


def test_a_credit_of_few_words_is_read() -> None:
    assert decoded({"type": "CREDIT", "currency": {"currencyId": "tokens"}}) == CreditEntitlement(
        currency=Currency(currency_id="tokens")
    )


@pytest.mark.parametrize(
    "terms",
    [
        [],
        {"feature": "seats"},
        {"type": 1, "feature": METER},
        {"feature": METER | {"id": None}},
        {"feature": METER | {"id": 7}},
        {"feature": METER | {"featureType": 7}},
        {"feature": METER, "usageLimit": "10"},
        {"feature": METER, "hasUnlimitedUsage": "yes"},
        {"feature": METER, "hasSoftLimit": 1},
        {"feature": METER, "validUntil": "2026-01-01T00:00:00Z"},
        {"feature": METER, "creditRate": {"amount": 1}},
        {"feature": METER, "creditRate": []},
        {"feature": METER, "accessDeniedReason": 5},
        {"feature": {"id": "e", "featureType": "ENUM"}, "enumValues": "eu"},
        {"type": "CREDIT", "currency": {}},
        {"type": "CREDIT", "currency": {"currencyId": "tokens", "additionalMetaData": "x"}},
    ],
)
def test_wrong_types_are_junk(terms: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        decoded(terms)


@pytest.mark.parametrize("usage", [[], {"currentUsage": "3"}, {"usagePeriodEnd": "tomorrow"}])
def test_wrong_types_in_usage_are_junk(usage: object) -> None:
    with pytest.raises(Malformed):
        decoded({"feature": METER}, usageData=usage)


def test_usage_of_the_older_form_is_read() -> None:
    assert Usage(current=3, period_end_ms=2) == usage_from(
        Fields({"currentUsage": 3, "nextResetDate": 2}, "usage")
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, None),
        ("CustomerNotFound", AccessDeniedReason.CUSTOMER_NOT_FOUND),
        ("NotToday", AccessDeniedReason.UNKNOWN),
    ],
)
def test_reasons_are_read_by_name(name: str | None, expected: AccessDeniedReason | None) -> None:
    assert expected == reason_from(Fields({"accessDeniedReason": name}, "metadata"))


def a_feature_document(**fields: object) -> dict[str, object]:
    return {"id": "f", "featureType": "BOOLEAN", "displayName": "F"} | fields


def decoded_feature(**fields: object) -> Feature:
    document = {"calculatedEntitlement": {"type": "FEATURE", "feature": a_feature_document(**fields)}}
    found = entitlement_from(Fields(document, "entry"))
    assert isinstance(found, BooleanEntitlement)
    return found.feature


def test_one_feature_of_many_customers_is_held_once() -> None:
    first, second = decoded_feature(), decoded_feature()

    assert first is second


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "g"},
        {"displayName": "G"},
        {"units": "seat"},
        {"unitTransformation": {"divide": 2, "round": "UP"}},
    ],
)
def test_a_feature_that_changed_is_another(fields: dict[str, object]) -> None:
    assert decoded_feature() != decoded_feature(**fields)
    assert decoded_feature(**fields) == decoded_feature(**fields)


def test_what_is_malformed_stays_so_beside_what_is_known() -> None:
    decoded_feature(units="1")

    with pytest.raises(Malformed):
        decoded_feature(units=1)


def test_features_known_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_FEATURES_KNOWN", 3)
    monkeypatch.setattr(decoding, "_features_known", {})

    for number in range(10):
        decoded_feature(id=f"f{number}")

    assert len(decoding._features_known) <= 3
