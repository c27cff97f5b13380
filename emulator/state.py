"""What the cloud knows: every customer's raw state, how reports move it, and who receives a change.

Raw states are the JSON that the Edge serves, kept as they were put and replaced whole.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from emulator.dates import Clock, system_now_ms, to_iso, to_ms
from emulator.ledger import Ledger, ReceivedReport
from emulator.usage import (
    AppliedReport,
    Json,
    RefusedError,
    Scope,
    UsageReport,
    apply_report,
    find_entitlement,
    next_usage_timestamp,
    with_entitlement,
)

MAX_SCOPES = 200_000
REFERENCE_TYPES = {"FeatureEntitlement": "FEATURE", "CreditEntitlement": "CREDIT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEvent:
    """Something the feed's subscribers receive."""

    field: str
    """The subscription's field: entitlementsUpdatedV2, usageUpdatedV2 or packagePublished."""
    payload: Any
    """What that field holds."""
    verbatim: bool = False
    """Sent as it is, whatever the subscriber selected and the schema says."""


class CloudState:
    """The cloud's memory. Call it on the emulator's event loop; everything here is immediate."""

    def __init__(self, *, now_ms: Clock = system_now_ms, states: Mapping[Scope, Json] | None = None) -> None:
        self._now_ms = now_ms
        self._initial = deepcopy(dict(states or {}))
        self._states = dict(self._initial)
        self.ledger = Ledger()
        self.listeners: list[Callable[[FeedEvent], None]] = []

    def scopes(self) -> list[Scope]:
        """List who is known: (customerId, resourceId or None)."""
        return list(self._states)

    def put(
        self, customer_id: str, state: Json, *, resource_id: str | None = None, push: bool = True
    ) -> None:
        """Make this raw state what the cloud answers for a customer or resource.

        Args:
            customer_id: Whose it is.
            state: `{"accessDeniedReason": …, "entitlementsV2": [raw union objects]}`, served as it is.
            resource_id: The customer's resource, where it is a resource's.
            push: Whether the feed announces it (entitlementsUpdatedV2).
        """
        scope = (customer_id, resource_id)
        if scope not in self._states and len(self._states) >= MAX_SCOPES:
            message = f"at most {MAX_SCOPES} customers and resources"
            raise RefusedError("BadUserInput", message)
        kept: Json = {"accessDeniedReason": None, "entitlementsV2": []} | deepcopy(state)
        self._states[scope] = kept
        if push:
            self.push_state(customer_id, resource_id=resource_id)

    def get(self, customer_id: str, *, resource_id: str | None = None) -> Json:
        """Give what the cloud answers for a customer or resource, known or not."""
        state = self._states.get((customer_id, resource_id))
        if state is not None:
            return state
        known = (customer_id, None) in self._states
        return {
            "accessDeniedReason": "NoActiveSubscription" if known else "CustomerNotFound",
            "entitlementsV2": [],
        }

    def delete(self, customer_id: str, *, resource_id: str | None = None, push: bool = True) -> None:
        """Forget a customer's or resource's state; deleting the unknown does nothing but push."""
        self._states.pop((customer_id, resource_id), None)
        if push:
            self.push_state(customer_id, resource_id=resource_id)

    def set_usage(
        self,
        customer_id: str,
        entitlement_id: str,
        current_usage: float,
        *,
        resource_id: str | None = None,
        push: bool = True,
    ) -> None:
        """Set the usage of a feature (or the drawn credits of a currency), as if counted elsewhere.

        Raises:
            RefusedError: There is no such entitlement.
        """
        scope = (customer_id, resource_id)
        state = self.get(customer_id, resource_id=resource_id)
        for typename in REFERENCE_TYPES:
            entitlement = find_entitlement(state, entitlement_id, typename=typename)
            if entitlement is not None:
                timestamp = next_usage_timestamp(self._states, {scope}, now_ms=self._now_ms())
                changed = entitlement | {"currentUsage": current_usage, "usageUpdatedAt": timestamp}
                self._states[scope] = with_entitlement(state, changed)
                if push:
                    self._announce(usage_event(scope, changed))
                return
        raise RefusedError("FeatureNotFound", f"{customer_id} has no entitlement {entitlement_id}")

    def push_state(self, customer_id: str, *, resource_id: str | None = None) -> None:
        """Tell the feed a customer's or resource's whole set as it is now (entitlementsUpdatedV2)."""
        state = self.get(customer_id, resource_id=resource_id)
        payload = {
            "customerId": customer_id,
            "resourceId": resource_id,
            "accessDeniedReason": state["accessDeniedReason"],
            "entitlements": state["entitlementsV2"],
        }
        self._announce(FeedEvent(field="entitlementsUpdatedV2", payload=payload))

    def push_raw(self, field: str, payload: Any) -> None:
        """Send any payload to the subscribers of a field, past the schema."""
        self._announce(FeedEvent(field=field, payload=payload, verbatim=True))

    def publish_package(
        self, *, migration_type: str = "ALL_CUSTOMERS", package_id: str = "plan-demo"
    ) -> None:
        """Tell the feed that a package was published (packagePublished)."""
        payload = {
            "accountId": "account-demo",
            "environmentId": "environment-demo",
            "packageType": "Plan",
            "packageRefId": package_id,
            "packageVersion": 1,
            "migrationType": migration_type,
        }
        self._announce(FeedEvent(field="packagePublished", payload=payload))

    def report_usage(self, reports: Sequence[UsageReport]) -> list[Json]:
        """Count usage and announce it on the feed: all the reports or, when one is refused, none.

        Returns:
            The cloud's answer to each, in order.

        Raises:
            RefusedError: One of them cannot be counted.
        """
        states, now_ms = dict(self._states), self._now_ms()
        counted: list[ReceivedReport] = []
        events: list[FeedEvent] = []
        for report in reports:
            answer = _answer_to_same_key(counted, report) or self.ledger.first_answer(report)
            if answer is not None:
                counted.append(ReceivedReport(report=report, answer=answer, counted=False))
                continue
            applied = apply_report(states, report, now_ms=now_ms)
            events += _commit(states, applied)
            counted.append(ReceivedReport(report=report, answer=_answer(report, applied), counted=True))
        self._states = states
        for entry in counted:
            self.ledger.note_report(entry)
        for event in events:
            self._announce(event)
        return [entry.answer for entry in counted]

    def report_events(self, events: Sequence[Json]) -> None:
        """Remember events, each equal one once."""
        for event in events:
            self.ledger.note_event(event)

    def reset(self) -> None:
        """Go back to the state at the start and forget what was reported; the feed announces nothing."""
        self._states = dict(self._initial)
        self.ledger.reset()

    def _announce(self, event: FeedEvent) -> None:
        for listener in self.listeners:
            listener(event)


def usage_event(scope: Scope, entitlement: Json) -> FeedEvent:
    """Build the usageUpdatedV2 event of one entitlement; its dates are epoch milliseconds."""
    kind = REFERENCE_TYPES[entitlement["__typename"]]
    inner = entitlement["feature"]["refId"] if kind == "FEATURE" else entitlement["currency"]["currencyId"]
    dates = ("usageUpdatedAt", "usagePeriodStart", "usagePeriodEnd")
    payload = {
        "customerId": scope[0],
        "resourceId": scope[1],
        "entitlementReference": {"id": inner, "type": kind},
        "usage": {"currentUsage": entitlement["currentUsage"]}
        | {name: to_ms(entitlement.get(name)) for name in dates},
    }
    return FeedEvent(field="usageUpdatedV2", payload=payload)


def _answer_to_same_key(earlier: Sequence[ReceivedReport], report: UsageReport) -> Json | None:
    if report.idempotency_key is None:
        return None
    identity = (report.customer_id, report.idempotency_key)
    for entry in earlier:
        if identity == (entry.report.customer_id, entry.report.idempotency_key):
            return entry.answer
    return None


def _commit(states: dict[Scope, Json], applied: AppliedReport) -> list[FeedEvent]:
    states[applied.scope] = with_entitlement(states[applied.scope], applied.feature)
    events = [usage_event(applied.scope, applied.feature)]
    if applied.credit is not None:
        states[applied.credit_scope] = with_entitlement(states[applied.credit_scope], applied.credit)
        events.append(usage_event(applied.credit_scope, applied.credit))
    return events


def _answer(report: UsageReport, applied: AppliedReport) -> Json:
    return {
        "id": str(uuid.uuid4()),
        "featureId": report.feature_id,
        "customerId": report.customer_id,
        "resourceId": report.resource_id,
        "currentUsage": applied.feature["currentUsage"],
        "usagePeriodStart": _as_iso(applied.feature.get("usagePeriodStart")),
        "usagePeriodEnd": _as_iso(applied.feature.get("usagePeriodEnd")),
        "timestamp": applied.timestamp,
        "credit": None if applied.credit is None else _credit_answer(applied.credit, applied.timestamp),
    }


def _credit_answer(credit: Json, timestamp: str) -> Json:
    return {
        "currencyId": credit["currency"]["currencyId"],
        "currentUsage": credit["currentUsage"],
        "usagePeriodEnd": _as_iso(credit.get("usagePeriodEnd")),
        "timestamp": timestamp,
    }


def _as_iso(date: Any) -> str | None:
    epoch_ms = to_ms(date)
    return None if epoch_ms is None else to_iso(epoch_ms)
