"""A write ↔ its text in the outbox: JSON, readable by people and by the next version."""

import json
from typing import Any

from entitlements.domain.entity import EntityKey
from entitlements.domain.outbox import Write
from entitlements.domain.usage import UpdateBehavior, UsageEvent, UsageReport


class Unreadable(ValueError):
    """A text that is no write."""


def encode(write: Write) -> str:
    """The write's text."""
    fields: dict[str, Any] = {
        "customer": write.key.customer_id,
        "resource": write.key.resource_id,
        "key": write.idempotency_key,
        "dimensions": dict(write.dimensions),
    }
    if isinstance(write, UsageEvent):
        fields |= {"event": write.event_name, "at": write.timestamp_ms}
    else:
        fields |= {
            "feature": write.feature_id,
            "value": write.value,
            "behavior": write.update_behavior and write.update_behavior.value,
            "at": write.created_at_ms,
        }
    return json.dumps(fields, separators=(",", ":"))


def decode(text: str | bytes) -> Write:
    """The write of a text.

    Raises:
        Unreadable: somebody else wrote it.
    """
    try:
        return _write(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as exception:
        raise Unreadable from exception


def _write(fields: dict[str, Any]) -> Write:
    key = EntityKey(fields["customer"], fields["resource"])
    if "event" in fields:
        return UsageEvent(
            event_name=fields["event"],
            key=key,
            idempotency_key=fields["key"],
            dimensions=fields["dimensions"],
            timestamp_ms=fields["at"],
        )
    behavior = fields["behavior"]
    return UsageReport(
        key=key,
        feature_id=fields["feature"],
        value=fields["value"],
        idempotency_key=fields["key"],
        update_behavior=None if behavior is None else UpdateBehavior(behavior),
        dimensions=fields["dimensions"],
        created_at_ms=fields["at"],
    )
