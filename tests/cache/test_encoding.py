"""Each kind of entitlement as the contract's JSON document."""

from dataclasses import replace

from entitlements.cache.encoding import credit_entry, feature_entry, usage_document
from entitlements.domain.entitlement import (
    CreditRate,
    Currency,
    Feature,
    FeatureType,
    MeterType,
    ResetPeriod,
    ResetPeriodConfiguration,
    UnitTransformation,
    Usage,
)
from entitlements.domain.reason import AccessDeniedReason
from tests.builders import a_boolean_feature, a_credit, a_metered_feature, a_numeric_feature, an_enum_feature
from tests.cache.samples import CUSTOMER, NOW_MS, RESOURCE

PLAIN_FEATURE = {
    "displayName": None,
    "meterType": None,
    "units": None,
    "unitsPlural": None,
    "description": None,
    "unitTransformation": None,
}
PLAIN_TERMS = {
    "type": "FEATURE",
    "resourceId": None,
    "usageLimit": None,
    "hasUnlimitedUsage": False,
    "hasSoftLimit": None,
    "accessDeniedReason": None,
    "enumValues": None,
    "validUntil": None,
    "creditRate": None,
    "usagePeriodAnchor": None,
    "resetPeriod": None,
    "resetPeriodConfiguration": None,
}
NO_USAGE = {"currentUsage": 0, "usagePeriodStart": None, "usagePeriodEnd": None, "usageUpdatedAt": None}


def test_a_metered_feature_with_everything() -> None:
    entitlement = replace(
        a_metered_feature(
            limit=10.0,
            has_soft_limit=True,
            is_unlimited=True,
            denied_reason=AccessDeniedReason.REVOKED,
            valid_until_ms=NOW_MS,
            credit_rate=CreditRate(amount=0.5, currency_id="tokens"),
            reset_period=ResetPeriod.MONTH,
            reset_period_configuration=ResetPeriodConfiguration(
                field="monthlyAccordingTo", according_to="SubscriptionStart"
            ),
            period_anchor_ms=1,
            usage=Usage(current=3.0, period_start_ms=2, period_end_ms=3, updated_at_ms=4),
        ),
        feature=Feature(
            id="seats",
            feature_type=FeatureType.NUMBER,
            meter_type=MeterType.FLUCTUATING,
            display_name="Seats",
            description="Who may sit",
            units="seat",
            units_plural="seats",
            unit_transformation=UnitTransformation(divide=1000.0, round="UP"),
        ),
    )

    assert {
        "calculatedEntitlement": {
            "type": "FEATURE",
            "feature": {
                "id": "seats",
                "displayName": "Seats",
                "featureType": "NUMBER",
                "meterType": "Fluctuating",
                "units": "seat",
                "unitsPlural": "seats",
                "description": "Who may sit",
                "unitTransformation": {"divide": 1000, "round": "UP"},
            },
            "resourceId": "resource-1",
            "usageLimit": 10,
            "hasUnlimitedUsage": True,
            "hasSoftLimit": True,
            "accessDeniedReason": "Revoked",
            "enumValues": None,
            "validUntil": NOW_MS,
            "creditRate": {"amount": 0.5, "currencyId": "tokens"},
            "usagePeriodAnchor": 1,
            "resetPeriod": "MONTH",
            "resetPeriodConfiguration": {"monthlyAccordingTo": "SubscriptionStart"},
        },
        "usageData": {
            "currentUsage": 3,
            "usagePeriodStart": 2,
            "usagePeriodEnd": 3,
            "usageUpdatedAt": 4,
        },
    } == feature_entry(RESOURCE, entitlement)


def test_a_boolean_feature() -> None:
    feature = PLAIN_FEATURE | {"id": "flag", "featureType": "BOOLEAN"}

    assert {
        "calculatedEntitlement": PLAIN_TERMS | {"feature": feature},
        "usageData": NO_USAGE,
    } == feature_entry(CUSTOMER, a_boolean_feature())


def test_a_numeric_feature() -> None:
    feature = PLAIN_FEATURE | {"id": "quota", "featureType": "NUMBER", "meterType": "None"}
    terms = {"feature": feature, "usageLimit": 5, "hasUnlimitedUsage": True}

    assert {
        "calculatedEntitlement": PLAIN_TERMS | terms,
        "usageData": NO_USAGE,
    } == feature_entry(CUSTOMER, a_numeric_feature(is_unlimited=True))


def test_an_enum_feature() -> None:
    feature = PLAIN_FEATURE | {"id": "regions", "featureType": "ENUM"}

    assert {
        "calculatedEntitlement": PLAIN_TERMS | {"feature": feature, "enumValues": ["eu", "us"]},
        "usageData": NO_USAGE,
    } == feature_entry(CUSTOMER, an_enum_feature())


def test_a_credit() -> None:
    entitlement = replace(
        a_credit(limit=100.0, usage=Usage(current=3.5, period_end_ms=3, updated_at_ms=4)),
        currency=Currency(
            currency_id="tokens",
            display_name="Tokens",
            description="For words",
            unit_singular="token",
            unit_plural="tokens",
            additional_meta_data={"colour": ["red"]},
        ),
        has_soft_limit=True,
        denied_reason=AccessDeniedReason.INSUFFICIENT_CREDITS,
        valid_until_ms=5,
    )

    assert {
        "calculatedEntitlement": {
            "type": "CREDIT",
            "currency": {
                "currencyId": "tokens",
                "displayName": "Tokens",
                "description": "For words",
                "unitSingular": "token",
                "unitPlural": "tokens",
                "additionalMetaData": {"colour": ["red"]},
            },
            "usageLimit": 100,
            "hasSoftLimit": True,
            "accessDeniedReason": "InsufficientCredits",
            "validUntil": 5,
        },
        "usageData": {
            "currentUsage": 3.5,
            "usagePeriodStart": None,
            "usagePeriodEnd": 3,
            "usageUpdatedAt": 4,
        },
    } == credit_entry(entitlement)


def test_a_usage() -> None:
    assert usage_document(Usage(current=3.0, period_start_ms=1, period_end_ms=2, updated_at_ms=3)) == {
        "currentUsage": 3,
        "usagePeriodStart": 1,
        "usagePeriodEnd": 2,
    }
