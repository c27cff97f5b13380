"""Reports and events → the API's input; its answers → receipts (contract/upstream.md, GraphQL over HTTP)."""

from typing import Any

from entitlements.domain.entitlement import NO_TIMESTAMP_MS
from entitlements.domain.entity import UsageUpdate
from entitlements.domain.moments import iso_from_ms
from entitlements.domain.usage import UsageEvent, UsageReceipt, UsageReport
from entitlements.upstream.json_values import JsonObject, child, moment_ms, number, text


def report_input(report: UsageReport) -> dict[str, Any]:
    """A `ReportUsageInput`; what is not given is left out."""
    given: dict[str, Any] = {
        "customerId": report.key.customer_id,
        "resourceId": report.key.resource_id,
        "featureId": report.feature_id,
        "value": report.value,
        "updateBehavior": report.update_behavior and report.update_behavior.value,
        "createdAt": _moment(report.created_at_ms),
        "dimensions": dict(report.dimensions) or None,
        "idempotencyKey": report.idempotency_key,
    }
    return {name: value for name, value in given.items() if value is not None}


def event_input(event: UsageEvent) -> dict[str, Any]:
    """One of `usageEvents`; what is not given is left out."""
    given: dict[str, Any] = {
        "eventName": event.event_name,
        "customerId": event.key.customer_id,
        "resourceId": event.key.resource_id,
        "idempotencyKey": event.idempotency_key,
        "dimensions": dict(event.dimensions) or None,
        "timestamp": _moment(event.timestamp_ms),
    }
    return {name: value for name, value in given.items() if value is not None}


def receipt_from_answer(answer: JsonObject, report: UsageReport) -> UsageReceipt:
    """The receipt of one report, with what it moved."""
    current = number(answer.get("currentUsage"))
    period_start_ms = moment_ms(answer.get("usagePeriodStart"))
    period_end_ms = moment_ms(answer.get("usagePeriodEnd"))
    updates = []
    if current is not None:
        updates.append(
            UsageUpdate(
                feature_id=report.feature_id,
                current=current,
                updated_at_ms=moment_ms(answer.get("timestamp")) or NO_TIMESTAMP_MS,
                period_start_ms=period_start_ms,
                period_end_ms=period_end_ms,
            )
        )
    updates += _credit_updates(child(answer.get("credit")) or {})
    return UsageReceipt(
        measurement_id=text(answer.get("id")) or "",
        key=report.key,
        feature_id=report.feature_id,
        current_usage=current,
        period_start_ms=period_start_ms,
        period_end_ms=period_end_ms,
        updates=tuple(updates),
    )


def _credit_updates(credit: JsonObject) -> list[UsageUpdate]:
    currency_id, current = text(credit.get("currencyId")), number(credit.get("currentUsage"))
    if not currency_id or current is None:
        return []
    return [
        UsageUpdate(
            currency_id=currency_id,
            current=current,
            updated_at_ms=moment_ms(credit.get("timestamp")) or NO_TIMESTAMP_MS,
            period_end_ms=moment_ms(credit.get("usagePeriodEnd")),
        )
    ]


def _moment(moment_ms: int | None) -> str | None:
    return None if moment_ms is None else iso_from_ms(moment_ms)
