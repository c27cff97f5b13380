"""An override as one JSON record, for other processes."""

import json
from dataclasses import replace

from entitlements.domain.entity import EntityKey
from entitlements.domain.override import Override, fault_of
from entitlements.json_fields import Malformed, parsed


def record_of(override: Override) -> bytes:
    fields = {
        "customer": override.key.customer_id,
        "resource": override.key.resource_id,
        "feature": override.feature_id,
        "currency": override.currency_id,
        "hasAccess": override.has_access,
        "usageLimit": override.usage_limit,
        "value": override.value,
        "enumValues": override.enum_values,
        "reason": override.reason,
        "author": override.author,
        "begins": override.begins_ms,
        "ends": override.ends_ms,
        "ended": override.ended_ms,
        "endedBy": override.ended_by,
        "left": override.left_ms,
    }
    return json.dumps(fields).encode()


def override_from(id_: str, record: bytes) -> Override:
    """The override that a record describes.

    Raises:
        Malformed: it describes none that could have been begun.
    """
    fields = parsed(record, "override")
    value, begins_ms, ends_ms = fields.number("value"), fields.moment("begins"), fields.moment("ends")
    if begins_ms is None or ends_ms is None or (value is not None and value != int(value)):
        where = "override.begins, ends or value"
        raise Malformed(where, "a moment or a whole number")
    override = Override(
        id=id_,
        key=EntityKey(fields.required_text("customer"), fields.text("resource")),
        feature_id=fields.text("feature") or "",
        currency_id=fields.text("currency"),
        has_access=bool(fields.flag("hasAccess")),
        usage_limit=fields.number("usageLimit"),
        value=None if value is None else int(value),
        enum_values=fields.texts("enumValues") if fields.has("enumValues") else None,
        reason=fields.required_text("reason"),
        author=fields.text("author") or "",
        begins_ms=begins_ms,
        ends_ms=ends_ms,
        ended_ms=fields.moment("ended"),
        ended_by=fields.text("endedBy") or "",
        left_ms=fields.moment("left"),
    )
    fault = fault_of(override)
    if fault is not None:
        where = "override"
        raise Malformed(where, f"one that could be begun: {fault}")
    return override


def merged(held: Override | None, received: Override) -> Override:
    """The same override as two know it: it has ended if one of them knows that, and lasts for the shorter."""
    if held is None:
        return received
    known = [each for each in (held.left_ms, received.left_ms) if each is not None]
    ended = [each for each in (held, received) if each.ended_ms is not None]
    first = min(ended, key=lambda each: each.ended_ms or 0, default=held)
    return replace(held, ended_ms=first.ended_ms, ended_by=first.ended_by, left_ms=min(known, default=None))
