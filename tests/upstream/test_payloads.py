"""The API's JSON of entitlements, with everything that may be wrong in it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements import metrics
from entitlements.domain.entitlement import (
    NO_TIMESTAMP_MS,
    BooleanEntitlement,
    CreditEntitlement,
    CreditRate,
    Currency,
    EnumEntitlement,
    Feature,
    FeatureType,
    MeteredEntitlement,
    MeterType,
    NumericEntitlement,
    ResetPeriod,
    ResetPeriodConfiguration,
    UnitTransformation,
    Usage,
)
from entitlements.domain.entity import Entity
from entitlements.domain.reason import AccessDeniedReason
from entitlements.upstream import payloads
from entitlements.upstream.payloads import (
    denied_reason,
    entity_from_entitlements,
    entity_from_state,
    state_in,
)
from tests.builders import NOW_MS
from tests.upstream.test_feed_protocol import JSON

UPDATED_AT = "2025-06-15T15:06:40.000Z"
UPDATED_AT_MS = 1_750_000_000_000


def a_feature(feature_type: str = "BOOLEAN", **fields: Any) -> dict[str, Any]:
    return {"refId": "f", "featureType": feature_type, "meterType": "None"} | fields


def an_entitlement(feature: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "__typename": "FeatureEntitlement",
        "entitlementUpdatedAt": UPDATED_AT,
        "feature": a_feature() if feature is None else feature,
    } | fields


def entity(*entitlements: Any, reason: object = None) -> Entity:
    return entity_from_entitlements(list(entitlements), reason, now_ms=NOW_MS)


def the_feature(*entitlements: Any) -> object:
    return entity(*entitlements).features.get("f")


def test_a_boolean_feature() -> None:
    feature = a_feature(displayName="F", description="D", featureUnits="unit", featureUnitsPlural="units")
    data = an_entitlement(feature, accessDeniedReason="Revoked", validUntil=UPDATED_AT, isGranted=True)

    assert BooleanEntitlement(
        feature=Feature(
            id="f",
            feature_type=FeatureType.BOOLEAN,
            meter_type=MeterType.NONE,
            display_name="F",
            description="D",
            units="unit",
            units_plural="units",
        ),
        denied_reason=AccessDeniedReason.REVOKED,
        valid_until_ms=UPDATED_AT_MS,
    ) == the_feature(data)


def test_a_number_that_is_not_counted() -> None:
    data = an_entitlement(a_feature("NUMBER"), usageLimit=7, hasUnlimitedUsage=False, hasSoftLimit=True)

    found = the_feature(data)

    assert isinstance(found, NumericEntitlement)
    assert 7 == found.value
    assert found.is_unlimited is False
    assert found.has_soft_limit is True


def test_a_metered_feature() -> None:
    data = an_entitlement(
        a_feature("NUMBER", meterType="Fluctuating", unitTransformation={"divide": 10, "round": "UP"}),
        usageLimit=7.5,
        currentUsage=2.5,
        usageUpdatedAt=UPDATED_AT,
        usagePeriodAnchor=UPDATED_AT,
        usagePeriodStart=UPDATED_AT,
        usagePeriodEnd=UPDATED_AT,
        resetPeriod="MONTH",
        resetPeriodConfiguration={
            "__typename": "MonthlyResetPeriodConfig",
            "monthlyAccordingTo": "StartOfTheMonth",
        },
        creditRate={"amount": 2, "currencyId": "tokens"},
    )

    found = the_feature(data)

    assert isinstance(found, MeteredEntitlement)
    assert UnitTransformation(divide=10, round="UP") == found.feature.unit_transformation
    assert (
        Usage(
            current=2.5,
            period_start_ms=UPDATED_AT_MS,
            period_end_ms=UPDATED_AT_MS,
            updated_at_ms=UPDATED_AT_MS,
        )
        == found.usage
    )
    assert 7.5 == found.usage_limit
    assert ResetPeriod.MONTH == found.reset_period
    assert UPDATED_AT_MS == found.period_anchor_ms
    assert CreditRate(amount=2, currency_id="tokens") == found.credit_rate
    assert (
        ResetPeriodConfiguration(field="monthlyAccordingTo", according_to="StartOfTheMonth")
        == found.reset_period_configuration
    )


def test_an_enum_feature() -> None:
    data = an_entitlement(a_feature("ENUM"), enumValues=["eu", 5, None, "us"])

    found = the_feature(data)

    assert isinstance(found, EnumEntitlement)
    assert ("eu", "us") == found.enum_values


def test_a_credit() -> None:
    data = {
        "__typename": "CreditEntitlement",
        "currency": {
            "currencyId": "tokens",
            "displayName": "Tokens",
            "description": None,
            "unitSingular": "token",
            "unitPlural": "tokens",
            "additionalMetaData": {"a": 1},
        },
        "usageLimit": 100,
        "currentUsage": 40,
        "usageUpdatedAt": UPDATED_AT,
        "usagePeriodEnd": UPDATED_AT,
        "accessDeniedReason": "InsufficientCredits",
    }

    assert (
        CreditEntitlement(
            currency=Currency(
                currency_id="tokens",
                display_name="Tokens",
                unit_singular="token",
                unit_plural="tokens",
                additional_meta_data={"a": 1},
            ),
            usage_limit=100,
            usage=Usage(current=40, period_end_ms=UPDATED_AT_MS, updated_at_ms=UPDATED_AT_MS),
            denied_reason=AccessDeniedReason.INSUFFICIENT_CREDITS,
        )
        == entity(data).credits["tokens"]
    )


@pytest.mark.parametrize(
    "broken",
    [
        None,
        5,
        [],
        {},
        {"__typename": "NewEntitlement"},
        {"__typename": "CreditEntitlement"},
        {"__typename": "CreditEntitlement", "currency": {"currencyId": ""}},
        an_entitlement({}),
        an_entitlement(a_feature("NEW")),
        an_entitlement(a_feature(refId="")),
        an_entitlement(a_feature(refId=5)),
    ],
)
def test_an_entitlement_that_is_not_understood_is_skipped_and_the_others_are_kept(broken: object) -> None:
    found = entity(broken, an_entitlement(a_feature(refId="kept")))

    assert ["kept"] == list(found.features)
    assert not found.credits


def test_unknown_members_of_enumerations_count_as_absent() -> None:
    data = an_entitlement(a_feature("NUMBER", meterType="Fluctuating"), resetPeriod="CENTURY")

    found = the_feature(data)

    assert isinstance(found, MeteredEntitlement)
    assert found.reset_period is None


def test_a_meter_of_an_unknown_type_is_not_counted() -> None:
    assert isinstance(the_feature(an_entitlement(a_feature("NUMBER", meterType="New"))), NumericEntitlement)


def test_the_last_of_two_for_one_feature_holds() -> None:
    first = an_entitlement(accessDeniedReason="Revoked")

    found = the_feature(first, an_entitlement())

    assert isinstance(found, BooleanEntitlement)
    assert found.denied_reason is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, None),
        (5, None),
        ("FeatureNotFound", AccessDeniedReason.FEATURE_NOT_FOUND),
        ("SomethingNew", AccessDeniedReason.UNKNOWN),
    ],
)
def test_a_reason_that_is_new_is_unknown(name: object, reason: AccessDeniedReason | None) -> None:
    assert reason is denied_reason(name)


@pytest.mark.parametrize(
    ("entitlements", "expected"),
    [
        ([], NO_TIMESTAMP_MS),
        ([{}], NOW_MS),
        ([an_entitlement(entitlementUpdatedAt="soon")], NOW_MS),
        ([{}, an_entitlement(entitlementUpdatedAt="1970-01-01T00:00:05Z")], 5000),
    ],
)
def test_the_timestamp_is_the_first_valid_one(entitlements: list[Any], expected: int) -> None:
    """contract/redis.md, Rules: none is 0 for an empty set, now otherwise."""
    assert expected == entity(*entitlements).updated_at_ms


@pytest.mark.parametrize("state", [{}, {"entitlementsV2": None}, {"entitlementsV2": "x"}])
def test_a_state_without_entitlements_is_empty(state: dict[str, Any]) -> None:
    found = entity_from_state({**state, "accessDeniedReason": "CustomerNotFound"}, now_ms=NOW_MS)

    assert Entity(denied_reason=AccessDeniedReason.CUSTOMER_NOT_FOUND) == found


FIELDS = st.sampled_from(
    [
        "__typename", "feature", "currency", "usageLimit", "currentUsage", "enumValues", "creditRate",
        "validUntil", "usagePeriodEnd", "resetPeriod", "resetPeriodConfiguration", "entitlementUpdatedAt",
    ]
)  # fmt: skip
HOSTILE = st.dictionaries(
    FIELDS, JSON | st.just("FeatureEntitlement") | st.just("CreditEntitlement"), max_size=8
)


@given(st.lists(JSON | HOSTILE | HOSTILE.map(lambda data: an_entitlement() | data), max_size=5), JSON)
def test_no_json_of_the_cloud_raises(entitlements: list[Any], reason: object) -> None:
    assert isinstance(entity_from_entitlements(entitlements, reason, now_ms=NOW_MS), Entity)


@pytest.mark.parametrize("state", [None, [], {}, {"entitlementsV2": None}, {"entitlementsV2": {}}])
def test_a_state_without_a_list_and_without_a_reason_is_none(state: Any) -> None:
    """It says nothing.

    It was taken for an empty set: an answer that had lost its list denied every feature to callers that were
    served well before.
    """
    assert state_in({"entitlementsState": state}) is None


@pytest.mark.parametrize(
    "state", [{"entitlementsV2": []}, {"accessDeniedReason": "CustomerNotFound", "entitlementsV2": None}]
)
def test_an_empty_state_says_that_there_is_nothing(state: Any) -> None:
    """By an empty list, or by why there is none."""
    assert state == state_in({"entitlementsState": state})


def test_half_a_surrogate_pair_does_not_reach_a_caller() -> None:
    """A name that was cut in the middle of an emoji.

    JSON can carry it and protobuf cannot: every read of the entity failed on its way out.
    """
    found = entity_from_entitlements(
        [
            an_entitlement(a_feature("ENUM", displayName="cut \ud83d"), enumValues=["eu\ud83d"]),
            {"__typename": "CreditEntitlement", "currency": {"currencyId": "c", "displayName": "\ud83d ü"}},
        ],
        None,
        now_ms=NOW_MS,
    )
    enum = found.features["f"]

    assert isinstance(enum, EnumEntitlement)
    assert "cut ?" == enum.feature.display_name
    assert ("eu?",) == enum.enum_values
    assert "? ü" == found.credits["c"].currency.display_name


def test_a_feature_of_many_customers_is_made_and_held_once() -> None:
    """An account has a few hundred, and each customer's answer repeats them."""
    answer = an_entitlement(a_feature(displayName="Single sign-on"))

    first, second = (entity(answer).features["f"].feature for _ in range(2))
    another = entity(an_entitlement(a_feature(displayName="SSO"))).features["f"].feature

    assert first is second
    assert "Single sign-on" == first.display_name
    assert "SSO" == another.display_name


def test_features_without_end_are_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "_features_known", {})
    monkeypatch.setattr(payloads, "MAX_FEATURES_KNOWN", 3)

    for number in range(10):
        entity(an_entitlement(a_feature(refId=f"f-{number}")))

    assert len(payloads._features_known) <= 3


def test_what_is_not_understood_in_a_feature_is_counted_each_time() -> None:
    def counted() -> float:
        return float(metrics.UPSTREAM_SKIPPED.labels("meter_type")._value.get())

    before = counted()
    for _ in range(3):
        entity(an_entitlement(a_feature("NUMBER", meterType="Sundial")))

    assert before + 3 == counted()


@pytest.mark.parametrize("odd", [["a"], {"a": 1}, 1, True])
@pytest.mark.parametrize("field", ["displayName", "meterType", "featureUnits", "unitTransformation"])
def test_an_odd_field_of_a_feature_counts_as_absent(field: str, odd: object) -> None:
    """Also a list or an object, by which nothing can be looked up."""
    odd_one, without = (entity(an_entitlement(a_feature() | {field: value})) for value in (odd, None))

    assert without == odd_one
