"""A write ↔ its text in the outbox: JSON, readable by people and by the next version."""

import json
from math import isfinite
from typing import Any

from entitlements.domain.entity import EntityKey
from entitlements.domain.moments import LATEST_MS
from entitlements.domain.outbox import Write
from entitlements.domain.usage import (
    EARLIEST_TIMESTAMP_MS,
    DimensionValue,
    UpdateBehavior,
    UsageEvent,
    UsageReport,
)

UNREADABLE = "it could not be read"
"""The reason of a dead letter that is no write."""


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
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as exception:
        raise Unreadable from exception


def _write(fields: dict[str, Any]) -> Write:
    """The write, every field of the type that the cloud is sent: one wrong would stop all behind it."""
    resource = fields["resource"]
    key = EntityKey(_text(fields["customer"]), None if resource is None else _text(resource))
    if "event" in fields:
        return UsageEvent(
            event_name=_text(fields["event"]),
            key=key,
            idempotency_key=_text(fields["key"]),
            dimensions=_dimensions(fields["dimensions"]),
            timestamp_ms=_moment_ms(fields["at"]),
        )
    behavior = fields["behavior"]
    return UsageReport(
        key=key,
        feature_id=_text(fields["feature"]),
        value=_number(fields["value"]),
        idempotency_key=_text(fields["key"]),
        update_behavior=None if behavior is None else UpdateBehavior(behavior),
        dimensions=_dimensions(fields["dimensions"]),
        created_at_ms=_moment_ms(fields["at"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Unreadable
    value.encode()  # half a surrogate pair, which the cloud cannot be sent, is a ValueError
    return value


def _number(value: object) -> float:
    """As it stands: an integer goes to the cloud as one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise Unreadable
    return value


def _moment_ms(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or not EARLIEST_TIMESTAMP_MS <= value <= LATEST_MS:
        raise Unreadable
    return value


def _dimensions(values: object) -> dict[str, DimensionValue]:
    if not isinstance(values, dict):
        raise Unreadable
    return {_text(name): _dimension(value) for name, value in values.items()}


def _dimension(value: object) -> DimensionValue:
    if isinstance(value, bool):
        return value
    return _text(value) if isinstance(value, str) else _number(value)
