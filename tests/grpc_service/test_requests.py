"""Messages → values."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from entitlements.domain.decision import Query
from entitlements.domain.entitlement import EntitlementKind
from entitlements.domain.entity import EntityKey
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.usage import UpdateBehavior, UsageEvent, UsageReport
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.translation import requests

KEY = EntityKey("c", "r")
IDS: dict[str, Any] = {"customer_id": "c", "resource_id": "r", "feature_id": "f"}


def a_query(kind: EntitlementKind | None, **more: Any) -> Query:
    return Query(key=KEY, feature_id="f", expected_kind=kind, **more)


@pytest.mark.parametrize("resource_id", ["", None])
def test_an_empty_resource_is_the_customer(resource_id: str | None) -> None:
    request = pb.GetEntitlementsRequest(customer_id="c", resource_id=resource_id)

    assert EntityKey("c") == requests.entity_key(request)


@pytest.mark.parametrize(
    ("options", "fallback"),
    [
        (None, None),
        (pb.BooleanEntitlementOptions(), None),
        (
            pb.BooleanEntitlementOptions(fallback=pb.BooleanEntitlementFallback(has_access=True)),
            FallbackValue(has_access=True),
        ),
        (
            pb.BooleanEntitlementOptions(fallback=pb.BooleanEntitlementFallback()),
            FallbackValue(has_access=False),
        ),
    ],
)
def test_boolean(options: pb.BooleanEntitlementOptions | None, fallback: FallbackValue | None) -> None:
    request = pb.GetBooleanEntitlementRequest(options=options, **IDS)

    assert a_query(EntitlementKind.BOOLEAN, fallback=fallback) == requests.boolean_query(request)


@pytest.mark.parametrize(
    ("given", "fallback"),
    [
        ({"has_access": True}, FallbackValue(has_access=True)),
        (
            {"has_access": True, "value": 0, "is_unlimited": False},
            FallbackValue(has_access=True, value=0, is_unlimited=False),
        ),
    ],
)
def test_numeric(given: dict[str, Any], fallback: FallbackValue) -> None:
    """An optional field that is zero is not one that is absent."""
    options = pb.NumericEntitlementOptions(fallback=pb.NumericEntitlementFallback(**given))
    request = pb.GetNumericEntitlementRequest(options=options, **IDS)

    assert a_query(EntitlementKind.NUMERIC, fallback=fallback) == requests.numeric_query(request)


def test_numeric_without_a_fallback() -> None:
    request = pb.GetNumericEntitlementRequest(**IDS)

    assert a_query(EntitlementKind.NUMERIC) == requests.numeric_query(request)


@pytest.mark.parametrize(
    ("given", "usage", "fallback"),
    [
        ({}, None, None),
        ({"requested_usage": 0}, 0, None),
        (
            {
                "requested_usage": 1.5,
                "fallback": pb.MeteredEntitlementFallback(has_access=True, usage_limit=0),
            },
            1.5,
            FallbackValue(has_access=True, usage_limit=0),
        ),
        (
            {"fallback": pb.MeteredEntitlementFallback(is_unlimited=True)},
            None,
            FallbackValue(has_access=False, is_unlimited=True),
        ),
    ],
)
def test_metered(given: dict[str, Any], usage: float | None, fallback: FallbackValue | None) -> None:
    request = pb.GetMeteredEntitlementRequest(options=pb.MeteredEntitlementOptions(**given), **IDS)

    assert a_query(
        EntitlementKind.METERED, requested_usage=usage, fallback=fallback
    ) == requests.metered_query(request)


@pytest.mark.parametrize(
    ("given", "values", "fallback"),
    [
        ({}, (), None),
        ({"requested_values": ["a", "b"]}, ("a", "b"), None),
        (
            {"fallback": pb.EnumEntitlementFallback(has_access=True, enum_values=["a"])},
            (),
            FallbackValue(has_access=True, enum_values=("a",)),
        ),
    ],
)
def test_enum(given: dict[str, Any], values: tuple[str, ...], fallback: FallbackValue | None) -> None:
    request = pb.GetEnumEntitlementRequest(options=pb.EnumEntitlementOptions(**given), **IDS)

    assert a_query(EntitlementKind.ENUM, requested_values=values, fallback=fallback) == requests.enum_query(
        request
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        (
            {"requested_usage": 2, "requested_values": ["a"]},
            {"requested_usage": 2, "requested_values": ("a",)},
        ),
        (
            {
                "fallback": pb.GetEntitlementFallback(
                    has_access=True, value=1, is_unlimited=False, usage_limit=2, enum_values=["a"]
                )
            },
            {
                "fallback": FallbackValue(
                    has_access=True, value=1, is_unlimited=False, usage_limit=2, enum_values=("a",)
                )
            },
        ),
        ({"fallback": pb.GetEntitlementFallback()}, {"fallback": FallbackValue(has_access=False)}),
    ],
)
def test_generic(given: dict[str, Any], expected: dict[str, Any]) -> None:
    options = pb.GetEntitlementOptions(**given)

    generic = requests.generic_query(pb.GetEntitlementRequest(options=options, **IDS))
    v2 = requests.v2_query(pb.GetEntitlementV2Request(options=options, **IDS))

    assert a_query(None, **expected) == generic
    assert a_query(None, **expected) == v2


@pytest.mark.parametrize(("currency_id", "expected"), [("tokens", "tokens"), ("", None), (None, None)])
def test_a_currency_may_be_asked_for(currency_id: str | None, expected: str | None) -> None:
    query = requests.v2_query(pb.GetEntitlementV2Request(customer_id="c", currency_id=currency_id))

    assert expected == query.currency_id


def test_a_report() -> None:
    request = pb.ReportUsageRequest(
        value=2,
        update_behavior=pb.USAGE_UPDATE_BEHAVIOR_SET,
        dimensions={
            "n": pb.EventDimensionValue(number_value=1.5),
            "s": pb.EventDimensionValue(string_value="x"),
            "b": pb.EventDimensionValue(boolean_value=False),
            "none": pb.EventDimensionValue(),
        },
        timestamp=Timestamp(seconds=5, nanos=7_000_000),
        **IDS,
    )

    assert UsageReport(
        key=KEY,
        feature_id="f",
        value=2,
        idempotency_key="k",
        update_behavior=UpdateBehavior.SET,
        dimensions={"n": 1.5, "s": "x", "b": False},
        created_at_ms=5007,
    ) == requests.usage_report(request, idempotency_key="k")


@pytest.mark.parametrize(
    ("behavior", "expected"),
    [
        (pb.USAGE_UPDATE_BEHAVIOR_UNSPECIFIED, None),
        (pb.USAGE_UPDATE_BEHAVIOR_DELTA, UpdateBehavior.DELTA),
        (99, None),
    ],
)
def test_an_unknown_behavior_is_none(behavior: Any, expected: UpdateBehavior | None) -> None:
    report = requests.usage_report(
        pb.ReportUsageRequest(update_behavior=behavior, **IDS), idempotency_key="k"
    )

    assert expected is report.update_behavior
    assert report.created_at_ms is None


def test_an_event() -> None:
    event = pb.Event(
        customer_id="c",
        resource_id="r",
        event_name="call",
        idempotency_key="k",
        timestamp=Timestamp(seconds=1),
        dimensions={"s": pb.EventDimensionValue(string_value="x")},
    )

    assert UsageEvent(
        key=KEY, event_name="call", idempotency_key="k", timestamp_ms=1000, dimensions={"s": "x"}
    ) == requests.usage_event(event)
    assert requests.usage_event(pb.Event()).timestamp_ms is None
