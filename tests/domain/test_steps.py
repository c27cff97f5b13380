"""The rules that a decision passed, in order; a check without a trail decides the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.domain.decision import Query
from entitlements.domain.entitlement import CreditRate, Entitlement, EntitlementKind, ResetPeriod
from entitlements.domain.entity import Entity
from entitlements.domain.evaluation import evaluate
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.reason import AccessDeniedReason
from entitlements.domain.steps import KeptTrail, Rule, Step
from tests.builders import (
    NOW_MS,
    a_boolean_feature,
    a_credit,
    a_credit_query,
    a_metered_feature,
    a_numeric_feature,
    a_query,
    a_usage,
    an_entity,
    an_enum_feature,
)

SPENT = CreditRate(amount=1.0, currency_id="tokens")
USED_UP = a_credit("tokens", limit=5, usage=a_usage(5))
REVOKED = AccessDeniedReason.REVOKED
EXCEEDED = AccessDeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT
MISSING = AccessDeniedReason.NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION
ROWS: list[tuple[Entity, Query, list[tuple[Rule, AccessDeniedReason | None]]]] = [
    (
        an_entity(a_boolean_feature("f")),
        a_query(),
        [(Rule.ENTITLEMENT, None), (Rule.CLOUD, None), (Rule.INCLUDED, None)],
    ),
    (
        an_entity(a_numeric_feature("f", denied_reason=REVOKED)),
        a_query(),
        [(Rule.ENTITLEMENT, None), (Rule.CLOUD, REVOKED)],
    ),
    (
        an_entity(an_enum_feature("f", values=("eu",))),
        a_query(requested_values=("us",)),
        [
            (Rule.ENTITLEMENT, None),
            (Rule.CLOUD, None),
            (Rule.VALUES, AccessDeniedReason.REQUESTED_VALUES_MISMATCH),
        ],
    ),
    (
        an_entity(a_metered_feature("f", limit=100, usage=a_usage(105))),
        a_query(requested_usage=1),
        [(Rule.ENTITLEMENT, None), (Rule.CLOUD, None), (Rule.LIMIT, EXCEEDED)],
    ),
    (
        an_entity(a_metered_feature("f", is_unlimited=True)),
        a_query(),
        [(Rule.ENTITLEMENT, None), (Rule.CLOUD, None), (Rule.UNLIMITED, None)],
    ),
    (
        an_entity(a_metered_feature("f", has_soft_limit=True)),
        a_query(),
        [(Rule.ENTITLEMENT, None), (Rule.CLOUD, None), (Rule.SOFT_LIMIT, None)],
    ),
    (
        an_entity(
            a_metered_feature(
                "f",
                usage=a_usage(9, period_end_ms=NOW_MS - 1),
                reset_period=ResetPeriod.DAY,
                period_anchor_ms=NOW_MS - 1,
            )
        ),
        a_query(),
        [(Rule.ENTITLEMENT, None), (Rule.PERIOD, None), (Rule.CLOUD, None), (Rule.LIMIT, None)],
    ),
    (
        an_entity(a_boolean_feature("f", credit_rate=SPENT), USED_UP),
        a_query(),
        [(Rule.ENTITLEMENT, None), (Rule.CREDITS, AccessDeniedReason.INSUFFICIENT_CREDITS)],
    ),
    (
        an_entity(a_credit("tokens")),
        a_credit_query(requested_usage=1),
        [(Rule.ENTITLEMENT, None), (Rule.CLOUD, None), (Rule.BALANCE, None)],
    ),
    (
        an_entity(a_credit("tokens", has_soft_limit=True)),
        a_credit_query(),
        [(Rule.ENTITLEMENT, None), (Rule.CLOUD, None), (Rule.SOFT_LIMIT, None)],
    ),
    (
        an_entity(a_boolean_feature("g")),
        a_query(expected_kind=EntitlementKind.BOOLEAN),
        [(Rule.ENTITLEMENT, MISSING)],
    ),
    (
        an_entity(a_boolean_feature("g")),
        a_query(fallback=FallbackValue(has_access=True)),
        [(Rule.ENTITLEMENT, MISSING), (Rule.FALLBACK, None)],
    ),
    (
        an_entity(a_boolean_feature("f")),
        a_query(expected_kind=EntitlementKind.ENUM),
        [
            (Rule.ENTITLEMENT, None),
            (Rule.KIND, AccessDeniedReason.FEATURE_TYPE_MISMATCH),
            (Rule.FALLBACK, AccessDeniedReason.FEATURE_TYPE_MISMATCH),
        ],
    ),
]
FEATURES: list[Entitlement] = [
    a_boolean_feature("f"),
    a_boolean_feature("f", denied_reason=REVOKED, credit_rate=SPENT),
    a_numeric_feature("f", credit_rate=SPENT, denied_reason=AccessDeniedReason.INSUFFICIENT_CREDITS),
    a_metered_feature("f", usage=a_usage(5), period_anchor_ms=1),
    a_metered_feature("f", usage=a_usage(9, period_end_ms=NOW_MS - 1)),
    an_enum_feature("f"),
    a_boolean_feature("g"),
]


def _steps(entity: Entity, query: Query) -> list[Step]:
    trail = KeptTrail()
    evaluate(entity, query, rules={}, now_ms=NOW_MS, trail=trail)
    return trail.steps


@pytest.mark.parametrize(("entity", "query", "expected"), ROWS)
def test_every_rule_is_noted_in_its_order(
    entity: Entity, query: Query, expected: list[tuple[Rule, AccessDeniedReason | None]]
) -> None:
    assert expected == [(step.rule, step.reason) for step in _steps(entity, query)]


def test_a_step_holds_what_the_rule_looked_at() -> None:
    """The meter before its period ended, and after."""
    before = a_metered_feature("f", usage=a_usage(9, period_end_ms=NOW_MS - 1))

    subjects = {step.rule: step.subject for step in _steps(an_entity(before), a_query())}

    assert before is subjects[Rule.PERIOD]
    limit = subjects[Rule.LIMIT]
    assert not isinstance(limit, str | None)
    assert limit != before


@given(
    feature=st.sampled_from(FEATURES),
    balance=st.sampled_from([a_credit("tokens"), USED_UP]),
    kind=st.sampled_from([None, *EntitlementKind]),
    asks_for_balance=st.booleans(),
    usage=st.sampled_from([None, 0.5, 6.0]),
)
def test_who_is_informed_decides_the_same(
    *,
    feature: Entitlement,
    balance: Entitlement,
    kind: EntitlementKind | None,
    asks_for_balance: bool,
    usage: float | None,
) -> None:
    """And the last step says what the decision says."""
    entity = an_entity(feature, balance)
    query = (
        a_credit_query(requested_usage=usage)
        if asks_for_balance
        else a_query(expected_kind=kind, requested_usage=usage)
    )
    trail = KeptTrail()

    reported = evaluate(entity, query, rules={}, now_ms=NOW_MS, trail=trail)

    assert reported == evaluate(entity, query, rules={}, now_ms=NOW_MS)
    assert reported.reason == trail.steps[-1].reason
