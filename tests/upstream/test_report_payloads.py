"""Reports and events → the API's input, and its answers → receipts."""

from typing import Any

import pytest
from hypothesis import given

from entitlements.domain.entity import EntityKey, UsageUpdate
from entitlements.domain.usage import UpdateBehavior, UsageEvent, UsageReceipt, UsageReport
from entitlements.upstream.report_payloads import event_input, receipt_from_answer, report_input
from tests.builders import NOW_MS, a_report
from tests.upstream.test_feed_protocol import JSON


def test_a_report_with_everything() -> None:
    report = UsageReport(
        key=EntityKey("c", "r"),
        feature_id="f",
        value=1.5,
        idempotency_key="k",
        update_behavior=UpdateBehavior.SET,
        dimensions={"a": 1.0, "b": "x", "c": True},
        created_at_ms=NOW_MS,
    )

    assert {
        "customerId": "c",
        "resourceId": "r",
        "featureId": "f",
        "value": 1.5,
        "updateBehavior": "SET",
        "createdAt": "2025-06-15T15:06:40.000Z",
        "dimensions": {"a": 1.0, "b": "x", "c": True},
        "idempotencyKey": "k",
    } == report_input(report)


def test_what_is_not_given_is_left_out() -> None:
    report = a_report("f", value=0.0)

    assert {
        "customerId": "customer-1",
        "featureId": "f",
        "value": 0.0,
        "idempotencyKey": "report-1",
    } == report_input(report)


def test_an_event() -> None:
    event = UsageEvent(
        event_name="call", key=EntityKey("c"), idempotency_key="k", dimensions={"a": "x"}, timestamp_ms=NOW_MS
    )

    assert {
        "eventName": "call",
        "customerId": "c",
        "idempotencyKey": "k",
        "dimensions": {"a": "x"},
        "timestamp": "2025-06-15T15:06:40.000Z",
    } == event_input(event)


def test_a_receipt_says_what_moved() -> None:
    answer = {
        "id": "m-1",
        "currentUsage": 5,
        "usagePeriodStart": 1000,
        "usagePeriodEnd": 2000,
        "timestamp": 1500,
        "credit": {"currencyId": "tokens", "currentUsage": 10, "usagePeriodEnd": 3000, "timestamp": 1600},
    }

    assert UsageReceipt(
        measurement_id="m-1",
        key=EntityKey("customer-1"),
        feature_id="f",
        current_usage=5,
        period_start_ms=1000,
        period_end_ms=2000,
        updates=(
            UsageUpdate(
                feature_id="f", current=5, updated_at_ms=1500, period_start_ms=1000, period_end_ms=2000
            ),
            UsageUpdate(currency_id="tokens", current=10, updated_at_ms=1600, period_end_ms=3000),
        ),
    ) == receipt_from_answer(answer, a_report("f"))


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"currentUsage": None, "credit": None},
        {"currentUsage": "5", "credit": {"currencyId": "", "currentUsage": 5}},
        {"credit": {"currencyId": "tokens"}},
    ],
)
def test_an_answer_without_usage_moves_nothing(answer: dict[str, Any]) -> None:
    receipt = receipt_from_answer(answer, a_report("f"))

    assert () == receipt.updates
    assert receipt.current_usage is None
    assert "" == receipt.measurement_id


@given(JSON, JSON, JSON)
def test_no_answer_raises(usage: Any, credit: Any, moment: Any) -> None:
    answer = {"currentUsage": usage, "credit": credit, "timestamp": moment, "id": credit}

    assert receipt_from_answer(answer, a_report("f")).feature_id == "f"
