"""What makes a report or an event invalid."""

import math

import pytest

from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import InvalidRequest
from entitlements.domain.usage import (
    MAX_EVENTS_PER_CALL,
    UsageEvent,
    UsageReport,
    validate_events,
    validate_reports,
)
from tests.builders import A_KEY, NOW_MS, a_report, an_event

NOBODY = EntityKey("")
LATEST_TIMESTAMP_MS = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z."""


@pytest.mark.parametrize(
    "report",
    [
        a_report(),
        a_report(value=-1.5, dimensions={"region": "eu", "size": 2.5, "trial": True}),
        a_report(created_at_ms=NOW_MS),
        a_report(created_at_ms=0),
        a_report(created_at_ms=LATEST_TIMESTAMP_MS),
    ],
)
def test_usable_report_passes(report: UsageReport) -> None:
    """What the cloud can use raises nothing."""
    validate_reports([report])


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (a_report(key=NOBODY), "customer_id is empty; it must name one"),
        (a_report(feature_id=" "), "feature_id is empty; it must name one"),
        (a_report(value=math.nan), "value is nan; it must be a finite number"),
        (a_report(value=-math.inf), "value is -inf; it must be a finite number"),
        (a_report(dimensions={"size": math.inf}), "dimensions['size'] is inf; it must be a finite number"),
        (a_report(created_at_ms=-1), "timestamp is out of range; it must lie in the years 1970 to 9999"),
        (
            a_report(created_at_ms=LATEST_TIMESTAMP_MS + 1),
            "timestamp is out of range; it must lie in the years 1970 to 9999",
        ),
    ],
)
def test_unusable_report_names_its_field(report: UsageReport, sentence: str) -> None:
    """The error says which field it is and what it must hold."""
    with pytest.raises(InvalidRequest) as caught:
        validate_reports([report])

    assert sentence == str(caught.value)


def test_reports_of_a_bulk_are_named_by_their_place() -> None:
    """The first unusable report of many is found by its index."""
    with pytest.raises(InvalidRequest) as caught:
        validate_reports([a_report(), a_report("")], field_prefix="usages")

    assert "usages[1].feature_id" == caught.value.field


def test_bulk_is_bounded() -> None:
    """As many as the API takes in one call, and not one more."""
    validate_reports([a_report()] * 100)

    with pytest.raises(InvalidRequest) as caught:
        validate_reports([a_report()] * 101)

    assert "usages holds 101 entries; at most 100 are allowed" == str(caught.value)


@pytest.mark.parametrize(
    "event",
    [an_event(), an_event(timestamp_ms=NOW_MS, dimensions={"region": "eu", "size": 0.0, "trial": False})],
)
def test_usable_event_passes(event: UsageEvent) -> None:
    """What the cloud can use raises nothing."""
    validate_events([event])


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (an_event(""), "events[1].event_name"),
        (an_event(key=NOBODY), "events[1].customer_id"),
        (an_event(dimensions={"size": math.nan}), "events[1].dimensions['size']"),
        (an_event(timestamp_ms=-1), "events[1].timestamp"),
    ],
)
def test_unusable_event_names_its_field(event: UsageEvent, field: str) -> None:
    """The error says which event and which field."""
    with pytest.raises(InvalidRequest) as caught:
        validate_events([an_event(), event])

    assert field == caught.value.field


def test_events_are_sent_by_the_thousand() -> None:
    """The API's own bound (contract/upstream.md): whoever sends splits by it."""
    assert 1_000 == MAX_EVENTS_PER_CALL


def test_report_and_event_need_no_dimensions() -> None:
    """Without any, the cloud is sent none."""
    report = UsageReport(key=A_KEY, feature_id="f", value=1.0, idempotency_key="r")
    event = UsageEvent(event_name="call", key=A_KEY, idempotency_key="e")

    assert {} == report.dimensions
    assert {} == event.dimensions


def test_event_larger_than_the_clouds_bound_is_invalid() -> None:
    """1 MB of names and values (contract/upstream.md)."""
    event = UsageEvent(
        event_name="e", key=EntityKey("c"), idempotency_key="i", dimensions={"x": "é" * 500_000, "n": 1.0}
    )

    with pytest.raises(InvalidRequest, match=r"events\[0\]\.dimensions"):
        validate_events([event])


@pytest.mark.parametrize("value", [2.0**53 - 1, -(2.0**53 - 1), 2.0**35 - 0.5, 0.000005, 0.1 + 0.2, 0.0])
def test_value_within_the_clouds_bounds_passes(value: float) -> None:
    validate_reports([a_report(value=value)])


@pytest.mark.parametrize(
    ("value", "bound"),
    [
        (2.0**53, "9007199254740991"),
        (-1e300, "9007199254740991"),
        (2.0**35 + 0.5, "34359738368"),
        (-(2.0**36) - 0.25, "34359738368"),
        (0.000004, "0.000005"),
    ],
)
def test_value_outside_the_clouds_bounds_is_invalid_by_the_bound(value: float, bound: str) -> None:
    with pytest.raises(InvalidRequest, match=bound) as caught:
        validate_reports([a_report(value=value)])

    assert "value" == caught.value.field
