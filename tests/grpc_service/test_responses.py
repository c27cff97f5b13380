"""Values → messages; the vectors of tests/wire cover the rest of the fields."""

from dataclasses import replace
from typing import Any

import pytest

from entitlements.domain.decision import Decision
from entitlements.domain.entitlement import Entitlement, EntitlementKind, MeterType, ResetPeriod
from entitlements.domain.evaluation import decide_by_fallback, evaluate, evaluate_list, list_by_fallback
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.reason import AccessDeniedReason
from entitlements.domain.usage import UsageReceipt
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.translation import responses
from tests.builders import (
    A_KEY,
    NOW_MS,
    a_boolean_feature,
    a_credit,
    a_credit_query,
    a_metered_feature,
    a_numeric_feature,
    a_query,
    a_usage,
    an_entity,
    an_enum_feature,
)

ALL: tuple[Entitlement, ...] = (
    a_boolean_feature("flag"),
    a_numeric_feature("quota"),
    a_metered_feature("seats"),
    an_enum_feature("regions"),
    a_credit("tokens"),
)
GRANTED = FallbackValue(
    has_access=True, value=7, usage_limit=9, current_usage=2, enum_values=("eu",), has_soft_limit=True
)


def decided(entitlement: Entitlement, id_: str, **request: Any) -> Decision:
    return evaluate(an_entity(entitlement), a_query(id_, **request), rules={}, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5.9, 5),
        (-5.9, -5),
        (2**31, 2**31 - 1),
        (-(2**40), -(2**31)),
        (1e300, 2**31 - 1),
        (None, None),
    ],
)
def test_a_numeric_value_above_the_limits_is_clamped(value: float | None, expected: int | None) -> None:
    """contract/better.md: a value above 2^31 - 1 must not wrap to a negative number."""
    message = responses.numeric_response(decided(a_numeric_feature("quota", value=value), "quota"))

    entitlement = message.entitlement
    assert expected == (entitlement.value if entitlement.HasField("value") else None)


@pytest.mark.parametrize(
    ("entitlement", "arm"), list(zip(ALL, ["boolean", "numeric", "metered", "enum"], strict=False))
)
def test_the_arm_is_that_of_the_kind(entitlement: Entitlement, arm: str) -> None:
    decision = decided(entitlement, entitlement.feature.id)  # type: ignore[union-attr]

    generic, v2 = responses.generic_response(decision), responses.v2_response(decision)

    assert arm == generic.WhichOneof("entitlement")
    assert arm == v2.entitlement.WhichOneof("entitlement")
    assert generic.has_access
    assert not generic.HasField("access_denied_reason")


def test_a_feature_of_another_kind_has_no_arm_of_its_own() -> None:
    """The caller asked for a meter and there is a flag: denied, and nothing to show."""
    query = a_query("flag", expected_kind=EntitlementKind.METERED)
    decision = evaluate(an_entity(a_boolean_feature("flag")), query, rules={}, now_ms=NOW_MS)

    message = responses.metered_response(decision, query)

    assert not message.has_access
    assert pb.MeteredEntitlement(has_soft_limit=False) == message.entitlement


def test_a_credit_that_is_missing_has_no_arm() -> None:
    decision = evaluate(
        an_entity(a_boolean_feature("flag")), a_credit_query("tokens"), rules={}, now_ms=NOW_MS
    )

    entitlement = responses.v2_response(decision).entitlement

    assert entitlement.has_access is False
    assert entitlement.WhichOneof("entitlement") is None


def test_only_v2_has_an_arm_for_credits() -> None:
    decision = evaluate(an_entity(a_credit("tokens")), a_credit_query("tokens"), rules={}, now_ms=NOW_MS)

    v1, v2 = responses.generic_response(decision), responses.v2_response(decision)

    assert v1.WhichOneof("entitlement") is None
    assert "credit" == v2.entitlement.WhichOneof("entitlement")


def test_a_list_of_v1_has_no_credits() -> None:
    entitlements = evaluate_list(an_entity(*ALL), now_ms=NOW_MS)

    v1, v2 = responses.list_response(entitlements), responses.state_response(entitlements)

    assert ["boolean", "numeric", "metered", "enum"] == [e.WhichOneof("entitlement") for e in v1.entitlements]
    assert ["boolean", "numeric", "metered", "enum", "credit"] == [
        e.WhichOneof("entitlement") for e in v2.entitlements
    ]


def test_a_list_by_fallback_names_its_features() -> None:
    entitlements = list_by_fallback(rules={"f": GRANTED})

    message = responses.state_response(entitlements)

    (only,) = message.entitlements
    arm = getattr(only, str(only.WhichOneof("entitlement")))
    assert "f" == arm.feature.id
    assert only.has_access is True
    assert only.is_fallback is True


@pytest.mark.parametrize("kind", ["boolean", "numeric", "metered", "enum"])
def test_a_fallback_of_each_kind(kind: str) -> None:
    query = a_query("f", expected_kind=EntitlementKind[kind.upper()], fallback=GRANTED)
    decision = decide_by_fallback(query, rules={})

    messages: dict[str, Any] = {
        "boolean": lambda: responses.boolean_response(decision),
        "numeric": lambda: responses.numeric_response(decision),
        "metered": lambda: responses.metered_response(decision, query),
        "enum": lambda: responses.enum_response(decision, query),
    }
    message = messages[kind]()

    assert message.has_access
    assert message.is_fallback
    assert not message.entitlement.HasField("feature")
    match kind:
        case "numeric":
            assert message.entitlement.value == 7
        case "metered":
            assert 9 == message.entitlement.usage_limit
            assert 2 == message.entitlement.current_usage
            assert message.entitlement.has_soft_limit is True
        case "enum":
            assert ["eu"] == list(message.entitlement.enum_values)
        case _:
            pass


def test_a_credit_by_fallback() -> None:
    query = replace(a_credit_query("tokens"), fallback=GRANTED)
    decision = decide_by_fallback(query, rules={})

    message = responses.v2_response(decision).entitlement

    credit = message.credit
    assert "tokens" == credit.currency.currency_id
    assert 9 == credit.usage_limit
    assert 2 == credit.current_usage
    assert 7 == credit.remaining
    assert credit.has_soft_limit is True


def test_a_metered_entitlement_whole() -> None:
    usage = a_usage(2.5, period_start_ms=1000, period_end_ms=NOW_MS + 2500)
    metered = a_metered_feature(
        "seats",
        limit=10,
        usage=usage,
        reset_period=ResetPeriod.MONTH,
        period_anchor_ms=-1500,
        has_soft_limit=False,
    )
    query = a_query("seats", requested_usage=3)

    message = responses.metered_response(decided(metered, "seats", requested_usage=3), query)

    entitlement = message.entitlement
    assert 3 == message.requested_usage
    assert 10 == entitlement.usage_limit
    assert 2.5 == entitlement.current_usage
    assert pb.ENTITLEMENT_RESET_PERIOD_MONTH == entitlement.reset_period
    assert entitlement.next_reset_date == entitlement.usage_period_end
    assert -2 == entitlement.usage_period_anchor.seconds
    assert 500_000_000 == entitlement.usage_period_anchor.nanos
    assert entitlement.HasField("has_soft_limit")


@pytest.mark.parametrize("units", [None, "", "seat"])
def test_a_known_meter_has_all_that_callers_dereference(units: str | None) -> None:
    """The vendor's sends these also where there is nothing to send; a Go caller reads through the pointer."""
    metered = a_metered_feature("seats", has_soft_limit=None)
    metered = replace(metered, feature=replace(metered.feature, units=units, units_plural=units))
    decision = decided(metered, "seats")

    of_method = responses.metered_response(decision, a_query("seats")).entitlement
    of_generic = responses.generic_response(decision).metered
    of_v2 = responses.v2_response(decision).entitlement.metered

    for entitlement in (of_method, of_generic, of_v2):
        assert entitlement.HasField("has_soft_limit")
        assert not entitlement.has_soft_limit
        assert entitlement.feature.HasField("units")
        assert entitlement.feature.HasField("units_plural")
        assert (units or "") == entitlement.feature.units
        assert (units or "") == entitlement.feature.units_plural


def test_the_metered_method_sends_the_soft_limit_also_where_nothing_is_known() -> None:
    """By a fallback, and of a feature that is not there."""
    query = a_query("seats", expected_kind=EntitlementKind.METERED)
    by_fallback = decide_by_fallback(query, rules={})
    not_found = evaluate(an_entity(a_boolean_feature("flag")), query, rules={}, now_ms=NOW_MS)
    of_other_kind = evaluate(an_entity(a_boolean_feature("seats")), query, rules={}, now_ms=NOW_MS)

    for decision in (by_fallback, not_found, of_other_kind):
        entitlement = responses.metered_response(decision, query).entitlement

        assert entitlement.HasField("has_soft_limit")
        assert not entitlement.has_soft_limit


def test_what_is_not_metered_leaves_its_units_unset() -> None:
    message = responses.boolean_response(decided(a_boolean_feature("flag"), "flag"))

    assert not message.entitlement.feature.HasField("units")


@pytest.mark.parametrize(
    ("meter_type", "expected"),
    [(MeterType.INCREMENTAL, pb.METER_TYPE_INCREMENTAL), (MeterType.FLUCTUATING, pb.METER_TYPE_FLUCTUATING)],
)
def test_the_type_of_a_meter(meter_type: MeterType, expected: int) -> None:
    message = responses.metered_response(
        decided(a_metered_feature("seats", meter_type=meter_type), "seats"), a_query("seats")
    )

    assert expected == message.entitlement.feature.meter_type
    assert message.entitlement.feature.is_metered is True


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (None, False),
        ({"a": 1, "b": ["x", None]}, True),
        ({"a": object()}, False),
    ],
)
def test_meta_data_that_no_struct_holds_is_left_out(meta: Any, expected: bool) -> None:
    credit = a_credit("tokens")
    credit = replace(credit, currency=replace(credit.currency, additional_meta_data=meta))
    decision = evaluate(an_entity(credit), a_credit_query("tokens"), rules={}, now_ms=NOW_MS)

    currency = responses.v2_response(decision).entitlement.credit.currency

    assert expected is currency.HasField("additional_meta_data")


@pytest.mark.parametrize("reason", list(AccessDeniedReason))
def test_every_reason_has_a_number(reason: AccessDeniedReason) -> None:
    decision = decided(a_boolean_feature("flag", denied_reason=reason), "flag")

    message = responses.boolean_response(decision)

    assert pb.AccessDeniedReason.Value(f"ACCESS_DENIED_REASON_{reason.name}") == message.access_denied_reason


def test_a_receipt() -> None:
    receipt = UsageReceipt(
        measurement_id="m",
        key=A_KEY,
        feature_id="f",
        current_usage=5,
        period_start_ms=1000,
        period_end_ms=None,
    )

    message = responses.bulk_response([receipt]).usages[0]

    assert "m" == message.measurement_id
    assert "customer-1" == message.customer_id
    assert "f" == message.feature_id
    assert 5 == message.current_usage
    assert 1 == message.usage_period_start.seconds
    assert not message.HasField("usage_period_end")
    assert not message.HasField("resource_id")
