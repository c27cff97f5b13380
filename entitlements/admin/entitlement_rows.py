"""An entity's entitlements as a person reads them: what is granted, how much is used, when it starts anew."""

from collections.abc import Sequence
from typing import NamedTuple

from entitlements.domain.decision import Decision
from entitlements.domain.entitlement import (
    BooleanEntitlement,
    CreditEntitlement,
    EnumEntitlement,
    MeteredEntitlement,
    NumericEntitlement,
)
from entitlements.domain.entity import Entity
from entitlements.domain.evaluation import evaluate_list, grants_next_unit
from entitlements.domain.override import Override
from entitlements.domain.overriding import overridden_list
from entitlements.service.figures import amount, date_from_ms
from entitlements.service.wording import REASONS


class EntitlementRow(NamedTuple):
    """One entitlement."""

    id: str
    name: str
    kind: str
    is_granted: bool
    is_used_up: bool
    """Granted as it stands, and the next unit would be denied."""
    reason: str
    """Why it is denied; empty when it is not."""
    usage: str
    limit: str
    percent: int | None
    """Of the limit; None where there is nothing to draw."""
    notes: list[str]
    """Reset, price, expiry."""


def entitlement_rows(
    entity: Entity, *, now_ms: int, overrides: Sequence[Override] = ()
) -> list[EntitlementRow]:
    """All of them, decided at this moment by the rules that answer checks, without a request."""
    listed = overridden_list(evaluate_list(entity, now_ms=now_ms), entity, overrides, now_ms=now_ms)
    return [_row(each) for each in listed.decisions]


def _row(decision: Decision) -> EntitlementRow:
    basis = decision.basis
    usage = limit = ""
    percent = None
    notes: list[str] = []
    name = decision.id
    match basis:
        case CreditEntitlement():
            name = basis.currency.display_name or name
            usage, limit = amount(basis.usage.current), amount(basis.usage_limit)
            percent = _percent(basis.usage.current, basis.usage_limit)
            notes.append(f"{amount(basis.remaining)} left")
            notes += _moment("period ends", basis.usage.period_end_ms)
        case MeteredEntitlement():
            usage = amount(basis.usage.current)
            limit = "unlimited" if basis.is_unlimited else amount(basis.usage_limit or 0)
            percent = None if basis.is_unlimited else _percent(basis.usage.current, basis.usage_limit or 0)
            notes += _moment("resets", basis.usage.period_end_ms)
            notes += ["soft limit"] if basis.has_soft_limit else []
            notes += ["estimate: reports wait in the outbox"] if basis.usage.is_estimate else []
        case NumericEntitlement():
            limit = "unlimited" if basis.is_unlimited else amount(basis.value or 0)
        case EnumEntitlement():
            limit = ", ".join(basis.enum_values)
        case _:
            pass
    if isinstance(basis, BooleanEntitlement | EnumEntitlement | MeteredEntitlement | NumericEntitlement):
        name = basis.feature.display_name or name
        rate = basis.credit_rate
        notes += [] if rate is None else [f"costs {amount(rate.amount)} of {rate.currency_id} each"]
        notes += _moment("valid until", basis.valid_until_ms)
    return EntitlementRow(
        id=decision.id,
        name=name,
        kind=decision.kind.value,
        is_granted=decision.has_access,
        is_used_up=decision.has_access and not grants_next_unit(decision),
        reason="" if decision.reason is None else f"{decision.reason.value}: {REASONS[decision.reason]}",
        usage=usage,
        limit=limit,
        percent=percent,
        notes=notes + _override_note(decision.override),
    )


def _percent(current: float, limit: float) -> int:
    if limit <= 0:
        return 100
    return max(0, min(100, int(100 * current / limit)))


def _moment(label: str, moment_ms: int | None) -> list[str]:
    return [] if moment_ms is None else [f"{label} {date_from_ms(moment_ms)}"]


def _override_note(override: Override | None) -> list[str]:
    return [] if override is None else [f"overridden by {override.author}: {override.reason}"]
