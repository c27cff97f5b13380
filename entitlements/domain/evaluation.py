"""How a check is decided (contract/evaluation.md, sections 1 to 3): pure, the clock passed in as `now_ms`."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from entitlements.domain.decision import NO_ENTITLEMENT, Decision, NoEntitlement, Query
from entitlements.domain.entitlement import (
    BooleanEntitlement,
    CreditEntitlement,
    Entitlement,
    EntitlementKind,
    EnumEntitlement,
    FeatureEntitlement,
    MeteredEntitlement,
    NumericEntitlement,
    Usage,
)
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.fallback import FallbackValue, choose_fallback, kind_of_fallback
from entitlements.domain.period import period_containing
from entitlements.domain.reason import AccessDeniedReason
from entitlements.domain.steps import NO_TRAIL, Rule, Trail

FallbackRules = Mapping[str, FallbackValue]

_LIMIT_TOLERANCE = 1e-9
"""Sums of doubles within one part in 10⁹ of the limit are within the limit (section 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntitlementList:
    """All that an entity is entitled to, each decided with no request."""

    decisions: tuple[Decision, ...]
    reason: AccessDeniedReason | None = None
    """The state-level reason."""


def needs_recalculation(entity: Entity, query: Query | None, *, now_ms: int) -> bool:
    """True when what is asked for was only valid until now, so that the cloud must be asked (section 1).

    A query asks for one entitlement, a list (None) for all.
    """
    if query is not None:
        return _is_expired(find_entitlement(entity, query), now_ms)
    return any(_is_expired(each, now_ms) for each in (*entity.features.values(), *entity.credits.values()))


def evaluate(
    entity: Entity, query: Query, *, rules: FallbackRules, now_ms: int, trail: Trail = NO_TRAIL
) -> Decision:
    """The decision on a query from what is known of the entity; the trail notes every rule on the way."""
    entitlement = find_entitlement(entity, query)
    if entitlement is None:
        return _decide_missing(entity, query, rules, trail)
    trail.note(Rule.ENTITLEMENT, subject=entitlement)
    if query.expected_kind is not None and query.expected_kind is not entitlement.kind:
        mismatch = AccessDeniedReason.FEATURE_TYPE_MISMATCH
        trail.note(Rule.KIND, mismatch, entitlement)
        return decide_by_fallback(query, rules=rules, reason=mismatch, trail=trail)
    fresh = in_current_period(entitlement, now_ms=now_ms)
    if fresh is not entitlement:
        trail.note(Rule.PERIOD, subject=entitlement)
    return _decide(entity, fresh, query, trail)


def evaluate_list(entity: Entity, *, now_ms: int) -> EntitlementList:
    """Every entitlement of the entity, features before credits."""
    no_request = Query(key=EntityKey(""))
    return EntitlementList(
        decisions=tuple(
            _decide(entity, in_current_period(each, now_ms=now_ms), no_request, NO_TRAIL)
            for each in (*entity.features.values(), *entity.credits.values())
        ),
        reason=entity.denied_reason,
    )


def decide_by_fallback(
    query: Query,
    *,
    rules: FallbackRules,
    reason: AccessDeniedReason = AccessDeniedReason.UNKNOWN,
    trail: Trail = NO_TRAIL,
) -> Decision:
    """The fallback's answer to a query; `reason` is why it had to answer."""
    fallback = choose_fallback(query.feature_id, call=query.fallback, rules=rules)
    trail.note(Rule.FALLBACK, None if fallback.has_access else reason)
    return Decision(
        has_access=fallback.has_access,
        reason=reason,
        kind=_kind_of_fallback_answer(query, rules.get(query.feature_id)),
        basis=fallback,
        id=query.currency_id or query.feature_id,
    )


def _kind_of_fallback_answer(query: Query, rule: FallbackValue | None) -> EntitlementKind:
    if query.currency_id is not None:
        return EntitlementKind.CREDIT
    return query.expected_kind or kind_of_fallback(
        query.fallback,
        rule,
        requested_usage=query.requested_usage,
        requested_values=query.requested_values,
    )


def list_by_fallback(*, rules: FallbackRules) -> EntitlementList:
    """The configured fallbacks' features: what a list answers when nothing is known."""
    return EntitlementList(
        decisions=tuple(
            Decision(
                has_access=fallback.has_access,
                reason=AccessDeniedReason.UNKNOWN,
                kind=kind_of_fallback(fallback),
                basis=fallback,
                id=feature_id,
            )
            for feature_id, fallback in rules.items()
        )
    )


def in_current_period(entitlement: Entitlement, *, now_ms: int) -> Entitlement:
    """The entitlement as the clock has it: a meter whose period is over starts again at zero (section 1)."""
    if not isinstance(entitlement, MeteredEntitlement):
        return entitlement
    end_ms = entitlement.usage.period_end_ms
    if end_ms is None or end_ms >= now_ms:
        return entitlement
    period = None
    if entitlement.period_anchor_ms is not None and entitlement.reset_period is not None:
        period = period_containing(
            now_ms, anchor_ms=entitlement.period_anchor_ms, reset_period=entitlement.reset_period
        )
    return replace(
        entitlement,
        usage=Usage(
            period_start_ms=period and period.start_ms,
            period_end_ms=period and period.end_ms,
            updated_at_ms=entitlement.usage.updated_at_ms,
        ),
    )


def next_boundary_ms(decisions: Iterable[Decision]) -> int | None:
    """The first moment of the wall clock at which one of these may have to be decided anew; None: never.

    It answers for decisions that an entity's own entitlements gave.
    """
    boundaries: list[int] = []
    for each in decisions:
        basis = each.basis
        if isinstance(basis, FallbackValue | NoEntitlement):
            continue
        if basis.valid_until_ms is not None:
            boundaries.append(basis.valid_until_ms)
        if isinstance(basis, MeteredEntitlement) and basis.usage.period_end_ms is not None:
            boundaries.append(basis.usage.period_end_ms)
    return min(boundaries, default=None)


def find_entitlement(entity: Entity, query: Query) -> Entitlement | None:
    """What the entity holds of what is asked for."""
    if query.currency_id is not None:
        return entity.credits.get(query.currency_id)
    return entity.features.get(query.feature_id)


def _is_expired(entitlement: Entitlement | None, now_ms: int) -> bool:
    return (
        entitlement is not None
        and entitlement.valid_until_ms is not None
        and entitlement.valid_until_ms <= now_ms
    )


def _decide_missing(entity: Entity, query: Query, rules: FallbackRules, trail: Trail) -> Decision:
    reason = _missing_reason(entity, query)
    trail.note(Rule.ENTITLEMENT, reason)
    if query.expected_kind is None and query.currency_id is None:
        fallback = decide_by_fallback(query, rules=rules, reason=reason, trail=trail)
        return replace(fallback, reason=AccessDeniedReason.UNKNOWN) if fallback.has_access else fallback
    return Decision(
        has_access=False,
        reason=reason,
        kind=query.expected_kind or EntitlementKind.CREDIT,
        basis=NO_ENTITLEMENT,
        id=query.currency_id or query.feature_id,
    )


def _missing_reason(entity: Entity, query: Query) -> AccessDeniedReason:
    if entity.denied_reason is not None:
        return entity.denied_reason
    if query.currency_id is not None:
        return AccessDeniedReason.ENTITLEMENT_NOT_FOUND
    if entity.is_empty:
        return AccessDeniedReason.CUSTOMER_NOT_FOUND
    return AccessDeniedReason.NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION


def _decide(entity: Entity, entitlement: Entitlement, query: Query, trail: Trail) -> Decision:
    """Whether the entitlement covers the request: the rows of section 2, in their order."""
    if isinstance(entitlement, CreditEntitlement):
        id_ = entitlement.currency.currency_id
        reason = trail.note(Rule.CLOUD, entitlement.denied_reason)
    else:
        id_ = entitlement.feature.id
        reason = _standing_denial(entity, entitlement, trail)
    reason = reason or terms_denial(entitlement, query, trail)
    return Decision(
        has_access=reason is None, reason=reason, kind=entitlement.kind, basis=entitlement, id=id_
    )


def terms_denial(entitlement: Entitlement, query: Query, trail: Trail) -> AccessDeniedReason | None:
    """Why the terms alone, such as its limit, do not cover the request, or None."""
    match entitlement:
        case CreditEntitlement():
            return _credit_denial(entitlement, query, trail)
        case BooleanEntitlement() | NumericEntitlement():
            return trail.note(Rule.INCLUDED)
        case EnumEntitlement():
            return _enum_denial(entitlement, query, trail)
        case MeteredEntitlement():
            return _usage_denial(entitlement, query, trail)
        case _:
            assert_never(entitlement)


def _standing_denial(
    entity: Entity, entitlement: FeatureEntitlement, trail: Trail
) -> AccessDeniedReason | None:
    """The cloud's own denial and the state of the credits that the feature draws on."""
    rate = entitlement.credit_rate
    credit = None if rate is None else entity.credits.get(rate.currency_id)
    if credit is None or entitlement.denied_reason not in {None, AccessDeniedReason.INSUFFICIENT_CREDITS}:
        return trail.note(Rule.CLOUD, entitlement.denied_reason)
    exhausted = credit.remaining <= 0 and not credit.has_soft_limit
    return trail.note(Rule.CREDITS, AccessDeniedReason.INSUFFICIENT_CREDITS if exhausted else None, credit)


def _enum_denial(entitlement: EnumEntitlement, query: Query, trail: Trail) -> AccessDeniedReason | None:
    permitted = set(query.requested_values) <= set(entitlement.enum_values)
    reason = None if permitted else AccessDeniedReason.REQUESTED_VALUES_MISMATCH
    return trail.note(Rule.VALUES, reason, entitlement)


def _usage_denial(entitlement: MeteredEntitlement, query: Query, trail: Trail) -> AccessDeniedReason | None:
    if entitlement.is_unlimited:
        return trail.note(Rule.UNLIMITED, subject=entitlement)
    if entitlement.has_soft_limit:
        return trail.note(Rule.SOFT_LIMIT, subject=entitlement)
    total = entitlement.usage.current + (query.requested_usage or 0)
    within = _is_within(total, entitlement.usage_limit or 0)
    reason = None if within else AccessDeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT
    return trail.note(Rule.LIMIT, reason, entitlement)


def grants_next_unit(decision: Decision) -> bool:
    """False when this is granted as no usage was asked for, and one unit more would be denied."""
    basis = decision.basis
    match basis:
        case MeteredEntitlement() | CreditEntitlement() if decision.has_access:
            return terms_denial(basis, Query(key=EntityKey(""), requested_usage=1), NO_TRAIL) is None
        case _:
            return decision.has_access


def _credit_denial(entitlement: CreditEntitlement, query: Query, trail: Trail) -> AccessDeniedReason | None:
    if entitlement.has_soft_limit:
        return trail.note(Rule.SOFT_LIMIT, subject=entitlement)
    covered = entitlement.remaining > 0 and _is_within(query.requested_usage or 0, entitlement.remaining)
    return trail.note(Rule.BALANCE, None if covered else AccessDeniedReason.INSUFFICIENT_CREDITS, entitlement)


def _is_within(amount: float, limit: float) -> bool:
    return amount <= limit or math.isclose(amount, limit, rel_tol=_LIMIT_TOLERANCE)
