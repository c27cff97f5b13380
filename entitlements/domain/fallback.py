"""What is answered when there is nothing to decide from (contract/evaluation.md, section 3)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from entitlements.domain.entitlement import EntitlementKind


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackValue:
    """One configured or per-call fallback; a field that is None takes its type's default when answered."""

    has_access: bool = False
    usage_limit: float | None = None
    is_unlimited: bool | None = None
    value: int | None = None
    enum_values: tuple[str, ...] | None = None
    current_usage: float | None = None
    has_soft_limit: bool | None = None


DEFAULT_FALLBACK = FallbackValue()
"""The type's default alone: no access, no limit, nothing used."""


def choose_fallback(
    feature_id: str, *, call: FallbackValue | None, rules: Mapping[str, FallbackValue]
) -> FallbackValue:
    """The first fallback that exists: the call's, then the configured rule, then the default."""
    return call or rules.get(feature_id) or DEFAULT_FALLBACK


def kind_of_fallback(
    *options: FallbackValue | None, requested_usage: float | None = None, requested_values: Iterable[str] = ()
) -> EntitlementKind:
    """The arm a fallback is answered in: by what was requested, else by the first options that tell.

    Args:
        options: the call's fallback first, then the configured rule.
        requested_usage: as in the request; None when absent.
        requested_values: as in the request; empty when absent.
    """
    if requested_usage is not None:
        return EntitlementKind.METERED
    if any(True for _ in requested_values):
        return EntitlementKind.ENUM
    for fallback in options:
        kind = _kind_by_fields(fallback)
        if kind is not None:
            return kind
    return EntitlementKind.BOOLEAN


def _kind_by_fields(fallback: FallbackValue | None) -> EntitlementKind | None:
    if fallback is None:
        return None
    if fallback.usage_limit is not None:
        return EntitlementKind.METERED
    if fallback.enum_values:
        return EntitlementKind.ENUM
    if fallback.value is not None:
        return EntitlementKind.NUMERIC
    return None
