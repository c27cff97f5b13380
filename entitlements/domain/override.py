"""Overrides: what a person has answered instead of the cloud's answer, for a bounded time."""

import math
from dataclasses import dataclass

from entitlements.domain.bounds import INT32_MAX, INT32_MIN
from entitlements.domain.entity import EntityKey

MAX_DURATION_MS = 7 * 24 * 3_600_000
"""No override lasts longer."""
DEFAULT_DURATION_MS = 3_600_000
MAX_REASON_LENGTH = 500
MAX_TEXTS = 100
"""Number of enum values of one override."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One decision of a person: it begins at once, and ends at its time or when a person ends it."""

    id: str
    key: EntityKey
    """Exactly this customer, or exactly this resource of one."""
    feature_id: str = ""
    currency_id: str | None = None
    """Set when it is about a balance of credits; `feature_id` is empty then."""
    has_access: bool
    usage_limit: float | None = None
    """Granted up to this usage, or this balance; None: without a limit."""
    value: int | None = None
    """Of a numeric feature."""
    enum_values: tuple[str, ...] | None = None
    """Granted for these values alone; None: for whatever is requested."""
    reason: str
    author: str
    begins_ms: int
    ends_ms: int
    ended_ms: int | None = None
    """When it ended; None while it runs."""
    ended_by: str = ""
    left_ms: int | None = None
    """It lasts no longer than this from now on, by clocks that nobody sets; None: not noted yet."""

    @property
    def longest_left_ms(self) -> int:
        """It lasts no longer than this, whatever the wall clock says."""
        lasts_ms = self.ends_ms - self.begins_ms
        return lasts_ms if self.left_ms is None else min(lasts_ms, self.left_ms)

    @property
    def target(self) -> tuple[EntityKey, str, str | None]:
        """What it is about: of several the latest holds."""
        return self.key, self.feature_id, self.currency_id


def subject_of(override: Override) -> str:
    """Whom and what it is about, on one line."""
    ids = (override.key.customer_id, override.key.resource_id, override.feature_id, override.currency_id)
    return " / ".join(each for each in ids if each)


def terms_of(override: Override) -> dict[str, object]:
    """Its answer and its bounds, by name."""
    known = {
        "has_access": override.has_access,
        "limit": override.usage_limit,
        "value": override.value,
        "values": override.enum_values,
        "ends_ms": override.ends_ms,
    }
    return {name: each for name, each in known.items() if each is not None}


def fault_of(override: Override) -> str | None:
    """What keeps an override from being begun, in a sentence that names the field; None: nothing."""
    faults = (_fault_of_subject(override), _fault_of_time(override), _fault_of_terms(override))
    return next((fault for fault in faults if fault is not None), None)


def _fault_of_subject(override: Override) -> str | None:
    if not override.key.customer_id:
        return "customer must be an id"
    if (override.feature_id == "") == (override.currency_id is None):
        return "feature or currency must be named: one of them, not both"
    if not override.reason.strip():
        return "reason must be given"
    if len(override.reason) > MAX_REASON_LENGTH:
        return f"reason must be no longer than {MAX_REASON_LENGTH} characters"
    return None


def _fault_of_time(override: Override) -> str | None:
    if not 0 < override.ends_ms - override.begins_ms <= MAX_DURATION_MS:
        return "duration must be longer than nothing and no longer than 7 days"
    return None


def _fault_of_terms(override: Override) -> str | None:
    terms = [override.usage_limit, override.value, override.enum_values]
    given = sum(each is not None for each in terms)
    if given and not override.has_access:
        return "limit, value and values must be left out where access is denied"
    if given > 1:
        return "limit, value and values must not be given together: each is of another type of feature"
    if override.currency_id is not None and given and override.usage_limit is None:
        return "value and values must be left out for credits: a balance has a limit"
    return _fault_of_numbers(override)


def _fault_of_numbers(override: Override) -> str | None:
    if override.usage_limit is not None and not (
        math.isfinite(override.usage_limit) and override.usage_limit >= 0
    ):
        return "limit must be a number that is not below zero"
    if override.value is not None and not INT32_MIN <= override.value <= INT32_MAX:
        return f"value must be a whole number from {INT32_MIN} to {INT32_MAX}"
    values = override.enum_values
    if values is not None and not (0 < len(values) <= MAX_TEXTS and all(values)):
        return f"values must be 1 to {MAX_TEXTS} texts that are not empty"
    return None
