"""Usage reports and events, and what makes one invalid (contract/grpc.md, Status codes)."""

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from entitlements.domain.entity import EntityKey, UsageUpdate
from entitlements.domain.errors import InvalidRequest
from entitlements.domain.moments import LATEST_MS

MAX_USAGES_PER_CALL = 100
"""The API's own bound on reportUsageBulk (contract/upstream.md)."""
MAX_EVENTS_PER_CALL = 1000
"""The API's own bound on reportEvent (contract/upstream.md)."""
MAX_EVENT_BYTES = 1_000_000
"""The API's own bound on one event (contract/upstream.md): its names and values together."""
MAX_NAME_CHARACTERS = 100
"""The length of a dimension's name in an error: a status has to fit into the metadata that clients take."""
EARLIEST_TIMESTAMP_MS = 0

MAX_WHOLE_VALUE = 2**53 - 1
"""The API's own bound on a reported value without a fraction (contract/upstream.md), of either sign."""
FRACTIONS_BELOW = 2**35
"""The API's own bound on a reported value with a fraction."""
LEAST_VALUE = 0.000005
"""The API rounds to five decimals: what is smaller would count as nothing."""

DimensionValue: TypeAlias = str | float | bool


class UpdateBehavior(enum.Enum):
    """Whether a reported value is added or replaces."""

    DELTA = "DELTA"
    SET = "SET"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """A caller's report of usage of one feature."""

    key: EntityKey
    feature_id: str
    value: float
    idempotency_key: str
    """Generated once per call and kept over our own retries (contract/better.md)."""
    update_behavior: UpdateBehavior | None = None
    """None is left to the API, whose default is DELTA."""
    dimensions: Mapping[str, DimensionValue] = field(default_factory=dict)
    created_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReceipt:
    """The cloud's answer to a report."""

    measurement_id: str
    key: EntityKey
    feature_id: str
    current_usage: float | None = None
    period_start_ms: int | None = None
    period_end_ms: int | None = None
    updates: tuple[UsageUpdate, ...] = ()
    """What the report moved: the feature's meter, and the balance it draws on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """A raw event that the cloud meters by itself."""

    event_name: str
    key: EntityKey
    idempotency_key: str
    dimensions: Mapping[str, DimensionValue] = field(default_factory=dict)
    timestamp_ms: int | None = None


def validate_reports(reports: Sequence[UsageReport], *, field_prefix: str = "") -> None:
    """Raises InvalidRequest that names the first field the cloud could not use."""
    if len(reports) > MAX_USAGES_PER_CALL:
        raise InvalidRequest(
            "usages", f"holds {len(reports)} entries; at most {MAX_USAGES_PER_CALL} are allowed"
        )
    for index, report in enumerate(reports):
        prefix = f"{field_prefix}[{index}]." if field_prefix else ""
        _require(prefix + "customer_id", report.key.customer_id)
        _require(prefix + "feature_id", report.feature_id)
        _require_finite(prefix + "value", report.value)
        _require_countable(prefix + "value", report.value)
        _require_sendable(prefix, report.dimensions, report.created_at_ms)


def validate_events(events: Sequence[UsageEvent]) -> None:
    """Raises InvalidRequest that names the first field the cloud could not use."""
    for index, event in enumerate(events):
        prefix = f"events[{index}]."
        _require(prefix + "event_name", event.event_name)
        _require(prefix + "customer_id", event.key.customer_id)
        _require_sendable(prefix, event.dimensions, event.timestamp_ms)
        if _size_bytes(event) > MAX_EVENT_BYTES:
            raise InvalidRequest(
                prefix + "dimensions",
                f"make the event larger than {MAX_EVENT_BYTES} bytes, which is the bound",
            )


def _require(name: str, value: str) -> None:
    if not value.strip():
        raise InvalidRequest(name, "is empty; it must name one")


def _require_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise InvalidRequest(name, f"is {value}; it must be a finite number")


def _require_countable(name: str, value: float) -> None:
    size = abs(value)
    if value == int(value):
        if size > MAX_WHOLE_VALUE:
            raise InvalidRequest(name, f"is {value:g}; it must lie within ±{MAX_WHOLE_VALUE} (2^53-1)")
    elif size >= FRACTIONS_BELOW:
        raise InvalidRequest(
            name, f"is {value!r}; with a fraction it must be smaller than {FRACTIONS_BELOW} (2^35)"
        )
    elif size < LEAST_VALUE:
        raise InvalidRequest(name, f"is {value!r}; it must be at least {LEAST_VALUE:f} in size")


def _require_sendable(
    prefix: str, dimensions: Mapping[str, DimensionValue], timestamp_ms: int | None
) -> None:
    for name, value in dimensions.items():
        if isinstance(value, float):
            _require_finite(f"{prefix}dimensions[{name[:MAX_NAME_CHARACTERS]!r}]", value)
    if timestamp_ms is not None and not EARLIEST_TIMESTAMP_MS <= timestamp_ms <= LATEST_MS:
        raise InvalidRequest(prefix + "timestamp", "is out of range; it must lie in the years 1970 to 9999")


def _size_bytes(event: UsageEvent) -> int:
    texts = [event.event_name, event.idempotency_key, event.key.customer_id, event.key.resource_id or ""]
    for name, value in event.dimensions.items():
        texts += [name, value if isinstance(value, str) else "0"]
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
