"""How a check is decided that a person overrides: before the cloud's answer, on what is known of usage."""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from entitlements.domain.decision import NO_ENTITLEMENT, Decision, Query
from entitlements.domain.entitlement import (
    BooleanEntitlement,
    CreditEntitlement,
    Currency,
    Entitlement,
    EntitlementKind,
    EnumEntitlement,
    Feature,
    FeatureType,
    MeteredEntitlement,
    MeterType,
    NumericEntitlement,
)
from entitlements.domain.entity import Entity
from entitlements.domain.evaluation import (
    EntitlementList,
    FallbackRules,
    evaluate,
    find_entitlement,
    in_current_period,
    terms_denial,
)
from entitlements.domain.override import Override
from entitlements.domain.reason import AccessDeniedReason
from entitlements.domain.steps import NO_TRAIL, Rule, Trail

NOTHING_KNOWN = Entity()


def decide_by_override(
    entity: Entity, query: Query, override: Override, *, now_ms: int, trail: Trail = NO_TRAIL
) -> Decision:
    """The override's answer to a query, in the kind that is asked for.

    A limit and values are held against what is known and asked: an override may be used up, too.

    Args:
        entity: what is known; its usage counts on.
        query: what is asked.
        override: the one that is about it.
        now_ms: epoch milliseconds.
        trail: receives the override, and what bounds it.
    """
    known = find_entitlement(entity, query)
    kind = _kind(query, known, override)
    held = None if known is None or known.kind is not kind else in_current_period(known, now_ms=now_ms)
    id_ = query.currency_id or query.feature_id
    reason = trail.note(Rule.OVERRIDE, None if override.has_access else AccessDeniedReason.REVOKED, override)
    if reason is not None:
        basis = NO_ENTITLEMENT if held is None else held
        return Decision(has_access=False, reason=reason, kind=kind, basis=basis, id=id_, override=override)
    granted = _granted(kind, held, query, override)
    if override.usage_limit is not None or override.enum_values is not None:
        reason = terms_denial(granted, query, trail)
    return Decision(
        has_access=reason is None, reason=reason, kind=kind, basis=granted, id=id_, override=override
    )


def is_needless(
    override: Override, entity: Entity, query: Query, *, rules: FallbackRules, now_ms: int
) -> bool:
    """True when the cloud's answer, as it is known, comes to the same; also for the next unit of a meter."""
    asked = query if query.requested_usage is not None else replace(query, requested_usage=1.0)
    without = evaluate(entity, asked, rules=rules, now_ms=now_ms)
    return without.has_access == override.has_access


def overridden_list(
    entitlements: EntitlementList, entity: Entity, overrides: Sequence[Override], *, now_ms: int
) -> EntitlementList:
    """The list with these decided by their overrides, features before credits.

    What is denied and not known stays out, as everything that is not entitled.
    """
    decided = {
        (each.feature_id, each.currency_id): decide_by_override(
            entity,
            Query(key=each.key, feature_id=each.feature_id, currency_id=each.currency_id),
            each,
            now_ms=now_ms,
        )
        for each in overrides
    }
    decisions = [decided.pop(_target(each), each) for each in entitlements.decisions]
    decisions += [each for each in decided.values() if each.basis is not NO_ENTITLEMENT]
    decisions.sort(key=lambda each: each.kind is EntitlementKind.CREDIT)
    return replace(entitlements, decisions=tuple(decisions))


def _target(decision: Decision) -> tuple[str, str | None]:
    if decision.kind is EntitlementKind.CREDIT:
        return "", decision.id
    return decision.id, None


def _kind(query: Query, known: Entitlement | None, override: Override) -> EntitlementKind:
    """As it is asked for, else as it is known, else as the override or the request says."""
    if query.currency_id is not None:
        return EntitlementKind.CREDIT
    if query.expected_kind is not None:
        return query.expected_kind
    if known is not None:
        return known.kind
    if override.usage_limit is not None or query.requested_usage is not None:
        return EntitlementKind.METERED
    if override.enum_values is not None or query.requested_values:
        return EntitlementKind.ENUM
    return EntitlementKind.BOOLEAN if override.value is None else EntitlementKind.NUMERIC


def _granted(
    kind: EntitlementKind, held: Entitlement | None, query: Query, override: Override
) -> Entitlement:
    """The entitlement that the override grants: what is held, without what may deny it."""
    match kind:
        case EntitlementKind.CREDIT:
            return _credit(held, query, override)
        case EntitlementKind.METERED:
            return _metered(held, query, override)
        case EntitlementKind.ENUM:
            return _enum(held, query, override)
        case EntitlementKind.NUMERIC:
            return _numeric(held, query, override)
        case EntitlementKind.BOOLEAN:
            return BooleanEntitlement(feature=_feature(held, query, FeatureType.BOOLEAN))
        case _:
            assert_never(kind)


def _credit(held: Entitlement | None, query: Query, override: Override) -> CreditEntitlement:
    credit = (
        held
        if isinstance(held, CreditEntitlement)
        else CreditEntitlement(currency=Currency(currency_id=query.currency_id or ""))
    )
    limit = override.usage_limit
    if limit is None:
        return replace(credit, denied_reason=None, valid_until_ms=None, has_soft_limit=True)
    return replace(credit, denied_reason=None, valid_until_ms=None, usage_limit=limit, has_soft_limit=False)


def _metered(held: Entitlement | None, query: Query, override: Override) -> MeteredEntitlement:
    metered = (
        held
        if isinstance(held, MeteredEntitlement)
        else MeteredEntitlement(
            feature=_feature(None, query, FeatureType.NUMBER, meter_type=MeterType.INCREMENTAL)
        )
    )
    return replace(
        metered,
        denied_reason=None,
        valid_until_ms=None,
        credit_rate=None,
        usage_limit=override.usage_limit,
        is_unlimited=override.usage_limit is None,
        has_soft_limit=False,
    )


def _enum(held: Entitlement | None, query: Query, override: Override) -> EnumEntitlement:
    values = override.enum_values
    if values is None:
        known = held.enum_values if isinstance(held, EnumEntitlement) else ()
        values = tuple(dict.fromkeys((*known, *query.requested_values)))
    return EnumEntitlement(feature=_feature(held, query, FeatureType.ENUM), enum_values=values)


def _numeric(held: Entitlement | None, query: Query, override: Override) -> NumericEntitlement:
    feature = _feature(held, query, FeatureType.NUMBER, meter_type=MeterType.NONE)
    if override.value is not None:
        return NumericEntitlement(feature=feature, value=override.value)
    if isinstance(held, NumericEntitlement):
        return NumericEntitlement(feature=feature, value=held.value, is_unlimited=held.is_unlimited)
    return NumericEntitlement(feature=feature, is_unlimited=True)


def _feature(
    held: Entitlement | None, query: Query, type_: FeatureType, *, meter_type: MeterType | None = None
) -> Feature:
    if held is None or isinstance(held, CreditEntitlement):
        return Feature(id=query.feature_id, feature_type=type_, meter_type=meter_type)
    return held.feature
