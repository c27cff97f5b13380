"""A `next` frame of the feed → an event (contract/upstream.md, GraphQL over WebSocket)."""

from sys import intern

from entitlements.domain.entitlement import NO_TIMESTAMP_MS
from entitlements.domain.entity import EntityKey, UsageUpdate
from entitlements.domain.events import EntitlementsChanged, FeedEvent, PackagePublished, UsageChanged
from entitlements.json_fields import decoded
from entitlements.upstream.json_values import JsonObject, child, identifier, moment_ms, number, skipped, text
from entitlements.upstream.payloads import entity_from_entitlements

ENTITLEMENTS = "entitlementsUpdatedV2"
USAGE = "usageUpdatedV2"
PACKAGE = "packagePublished"


def event_from_frame(subscription: str, frame: str, *, now_ms: int) -> FeedEvent | None:
    """The event of a frame, or None when it cannot be used; then it is counted."""
    data = _data(subscription, frame)
    event: FeedEvent | None = None
    if data is not None:
        match subscription:
            case "entitlementsUpdatedV2":
                event = _entitlements_changed(data, now_ms=now_ms)
            case "usageUpdatedV2":
                event = _usage_changed(data, now_ms=now_ms)
            case "packagePublished":
                event = PackagePublished(affects_all_customers=data.get("migrationType") == "ALL_CUSTOMERS")
            case _:
                pass
    if event is None:
        skipped("feed_event", subscription)
    return event


def _data(subscription: str, frame: str) -> JsonObject | None:
    try:
        message = decoded(frame)
    except (ValueError, RecursionError):
        return None
    payload = child((child(message) or {}).get("payload")) or {}
    return child((child(payload.get("data")) or {}).get(subscription))


def _entitlements_changed(data: JsonObject, *, now_ms: int) -> EntitlementsChanged | None:
    key = _key(data)
    if key is None:
        return None
    entitlements = data.get("entitlements")
    reason = data.get("accessDeniedReason")
    if not isinstance(entitlements, list):
        if not text(reason):
            return None  # neither a set nor why there is none: nobody took the entity back
        entitlements = []
    if not entitlements and reason is None:
        return EntitlementsChanged(key=key, entity=None)
    return EntitlementsChanged(key=key, entity=entity_from_entitlements(entitlements, reason, now_ms=now_ms))


def _usage_changed(data: JsonObject, *, now_ms: int) -> UsageChanged | None:
    key = _key(data)
    reference = child(data.get("entitlementReference")) or {}
    usage = child(data.get("usage")) or {}
    id_, current = identifier(reference.get("id")), number(usage.get("currentUsage"))
    if key is None or not id_ or current is None:
        return None
    is_credit = reference.get("type") == "CREDIT"
    update = UsageUpdate(
        feature_id=None if is_credit else id_,
        currency_id=id_ if is_credit else None,
        current=current,
        updated_at_ms=moment_ms(usage.get("usageUpdatedAt")) or NO_TIMESTAMP_MS,
        sent_at_ms=now_ms,
        period_start_ms=moment_ms(usage.get("usagePeriodStart")),
        period_end_ms=moment_ms(usage.get("usagePeriodEnd")),
    )
    return UsageChanged(key=key, update=update)


def _key(data: JsonObject) -> EntityKey | None:
    """Whose news it is; None when that is unknown: a resource's must not be taken for its customer's."""
    customer_id = identifier(data.get("customerId"))
    resource_id = identifier(data.get("resourceId"))
    if customer_id is None or (resource_id is None and data.get("resourceId") not in (None, "")):
        return None
    return EntityKey(intern(customer_id), resource_id)
