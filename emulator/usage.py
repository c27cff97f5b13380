"""What a usage report does to a customer's raw state: pure, the clock passed in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emulator.dates import period_containing, to_iso, to_ms

Json = dict[str, Any]
Scope = tuple[str, str | None]
"""A customer, or one of its resources: (customerId, resourceId)."""

METERS = frozenset({"Incremental", "Fluctuating"})


class RefusedError(Exception):
    """The cloud will not do it; `code` is what a client finds in `extensions.code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """One usage report as it was received."""

    customer_id: str
    """Who used it."""
    feature_id: str
    """What was used."""
    value: float
    """By how much, or the new total."""
    resource_id: str | None = None
    """For which of the customer's resources."""
    update_behavior: str = "DELTA"
    """DELTA adds the value, SET replaces the usage."""
    created_at: Any = None
    """When it was used; before the current period it is recorded and not counted."""
    dimensions: Json | None = None
    """What the caller noted about it."""
    idempotency_key: str | None = None
    """A key that was seen before answers its first result and counts nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedReport:
    """What a report changes."""

    scope: Scope
    """Where the feature is entitled."""
    feature: Json
    """The feature's entitlement afterwards."""
    credit_scope: Scope
    """Where the currency is entitled: the scope itself, else the customer."""
    credit: Json | None
    """The currency's entitlement afterwards, where the feature draws from one."""
    timestamp: str
    """When it was counted: later than anything counted before in these scopes."""


def entitlement_id(entitlement: Any) -> str | None:
    """Find the id a client asks for: the feature's `refId` or the `currencyId`; None where there is none."""
    if not isinstance(entitlement, dict):
        return None
    holder, key = ("currency", "currencyId") if "currency" in entitlement else ("feature", "refId")
    inner = entitlement.get(holder)
    found = inner.get(key) if isinstance(inner, dict) else None
    return found if isinstance(found, str) else None


def find_entitlement(state: Json | None, wanted_id: str, *, typename: str) -> Json | None:
    """Find one entitlement of a raw state by its id and kind."""
    for entitlement in (state or {}).get("entitlementsV2") or []:
        if entitlement_id(entitlement) == wanted_id and entitlement.get("__typename") == typename:
            found: Json = entitlement
            return found
    return None


def with_entitlement(state: Json, changed: Json) -> Json:
    """Copy a raw state with the entitlement of the same id and kind replaced."""
    same = (entitlement_id(changed), changed.get("__typename"))
    return state | {
        "entitlementsV2": [
            changed if isinstance(old, dict) and (entitlement_id(old), old.get("__typename")) == same else old
            for old in state["entitlementsV2"]
        ]
    }


def next_usage_timestamp(states: Mapping[Scope, Json], scopes: set[Scope], *, now_ms: int) -> str:
    """Now, or one millisecond after the latest usage in these scopes when now is not later than that."""
    times = [
        to_ms(entitlement.get("usageUpdatedAt"))
        for scope in scopes
        for entitlement in states.get(scope, {}).get("entitlementsV2") or []
        if isinstance(entitlement, dict)
    ]
    return to_iso(max([now_ms, *(time + 1 for time in times if time is not None)]))


def apply_report(states: Mapping[Scope, Json], report: UsageReport, *, now_ms: int) -> AppliedReport:
    """Work out what a report changes.

    Raises:
        RefusedError: The report is about nothing known, entitled or metered, or leaves the range.
    """
    scope = (report.customer_id, report.resource_id)
    entitlement = _metered_entitlement(states, report, scope)
    fresh = in_current_period(entitlement, now_ms=now_ms)
    before = fresh.get("currentUsage") or 0
    after = before if _is_before_period(report, fresh) else _moved(before, report)
    if after < 0:
        code = "EntitlementUsageOutOfRangeError"
        raise RefusedError(code, f"Usage of feature {report.feature_id} cannot be {after}")
    credit_scope, credit = _drawn_credit(states, scope, fresh, used=after - before)
    timestamp = next_usage_timestamp(states, {scope, credit_scope}, now_ms=now_ms)
    return AppliedReport(
        scope=scope,
        feature=fresh | {"currentUsage": after, "usageUpdatedAt": timestamp},
        credit_scope=credit_scope,
        credit=None if credit is None else credit | {"usageUpdatedAt": timestamp},
        timestamp=timestamp,
    )


def in_current_period(entitlement: Json, *, now_ms: int) -> Json:
    """Copy an entitlement as it stands now: usage 0 and the current period when its period has ended."""
    end_ms = to_ms(entitlement.get("usagePeriodEnd"))
    if end_ms is None or end_ms >= now_ms:
        return entitlement
    anchor_ms, reset_period = to_ms(entitlement.get("usagePeriodAnchor")), entitlement.get("resetPeriod")
    period = None
    if anchor_ms is not None and isinstance(reset_period, str):
        period = period_containing(now_ms, anchor_ms=anchor_ms, reset_period=reset_period)
    start, end = (None, None) if period is None else (to_iso(period[0]), to_iso(period[1]))
    return entitlement | {"currentUsage": 0, "usagePeriodStart": start, "usagePeriodEnd": end}


def _metered_entitlement(states: Mapping[Scope, Json], report: UsageReport, scope: Scope) -> Json:
    customer, state = states.get((report.customer_id, None)), states.get(scope)
    if customer is None and state is None:
        raise RefusedError("CustomerNotFound", f"Customer {report.customer_id} was not found")
    if state is None:
        raise RefusedError("CustomerResourceNotFound", f"Resource {report.resource_id} was not found")
    reason = state.get("accessDeniedReason")
    if reason == "CustomerIsArchived":
        raise RefusedError("CustomerNotFound", f"Customer {report.customer_id} is archived")
    if reason == "NoActiveSubscription":
        code = "NoActiveSubscriptionForCustomer"
        raise RefusedError(code, f"Customer {report.customer_id} has no active subscription")
    entitlement = find_entitlement(state, report.feature_id, typename="FeatureEntitlement")
    if entitlement is None:
        raise _unknown_feature(states, report)
    meter = (entitlement.get("feature") or {}).get("meterType")
    if meter not in METERS and not entitlement.get("creditRate"):
        code = "MeteringNotAvailableForFeatureType"
        raise RefusedError(code, f"Feature {report.feature_id} has no meter")
    return entitlement


def _unknown_feature(states: Mapping[Scope, Json], report: UsageReport) -> RefusedError:
    if any(
        find_entitlement(state, report.feature_id, typename="FeatureEntitlement") for state in states.values()
    ):
        code = "NoFeatureEntitlementInSubscription"
        return RefusedError(code, f"Customer {report.customer_id} is not entitled to {report.feature_id}")
    return RefusedError("FeatureNotFound", f"Feature {report.feature_id} was not found")


def _is_before_period(report: UsageReport, entitlement: Json) -> bool:
    created_ms, start_ms = to_ms(report.created_at), to_ms(entitlement.get("usagePeriodStart"))
    return created_ms is not None and start_ms is not None and created_ms < start_ms


def _moved(before: float, report: UsageReport) -> float:
    return report.value if report.update_behavior == "SET" else before + report.value


def _drawn_credit(
    states: Mapping[Scope, Json], scope: Scope, feature: Json, *, used: float
) -> tuple[Scope, Json | None]:
    rate = feature.get("creditRate")
    if not isinstance(rate, dict):
        return scope, None
    for holder in (scope, (scope[0], None)):
        credit = find_entitlement(states.get(holder), rate["currencyId"], typename="CreditEntitlement")
        if credit is not None:
            return holder, credit | {
                "currentUsage": (credit.get("currentUsage") or 0) + rate["amount"] * used
            }
    return scope, None
