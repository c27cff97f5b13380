"""What is answered when there is nothing to decide from (contract/evaluation.md, section 3)."""

import enum
from collections.abc import Mapping, Sequence
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
    max_stale_seconds: float | None = None
    """Of a rule: past this, it answers for what could not be confirmed; None: the general bound."""


DEFAULT_FALLBACK = FallbackValue()
"""The type's default alone: no access, no limit, nothing used."""


class FallbackOrigin(enum.Enum):
    """Where a fallback is configured, the first to be asked first; the value is what people see."""

    CALL = "call"
    """The caller sent it along."""
    DATABASE = "database"
    """A rule that people set while the sidecar runs."""
    ENVIRONMENT = "environment"
    """ENTITLEMENTS_FALLBACK."""
    DEFAULT = "default"
    """None is configured: no access."""


def choose_fallback(
    feature_id: str, *, call: FallbackValue | None, rules: Mapping[str, FallbackValue]
) -> FallbackValue:
    """The first fallback that exists: the call's, then the configured rule, then the default."""
    return call or rules.get(feature_id) or DEFAULT_FALLBACK


def kind_of_fallback(
    call: FallbackValue | None,
    rule: FallbackValue | None = None,
    *,
    requested_usage: float | None = None,
    requested_values: Sequence[str] = (),
) -> EntitlementKind:
    """The arm a fallback is answered in: by what the call's options hold, else by the configured rule.

    Args:
        call: the call's own fallback, a part of its options.
        rule: the configured rule, asked when the options do not say.
        requested_usage: as in the options; None when absent.
        requested_values: as in the options; empty when absent.
    """
    return (
        _kind_by_fields(call, requested_usage=requested_usage, requested_values=requested_values)
        or _kind_by_fields(rule)
        or EntitlementKind.BOOLEAN
    )


def _kind_by_fields(
    fallback: FallbackValue | None,
    *,
    requested_usage: float | None = None,
    requested_values: Sequence[str] = (),
) -> EntitlementKind | None:
    fields = fallback or DEFAULT_FALLBACK
    if requested_usage is not None or fields.usage_limit is not None:
        return EntitlementKind.METERED
    if requested_values or fields.enum_values:
        return EntitlementKind.ENUM
    if fields.value is not None:
        return EntitlementKind.NUMERIC
    return None
