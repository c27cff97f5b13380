"""A person's word before the cloud's: in the kind that is asked for, within the bounds it was given."""

from typing import Any

import pytest

from entitlements.domain.decision import NO_ENTITLEMENT, Query
from entitlements.domain.entitlement import CreditRate, EntitlementKind
from entitlements.domain.entity import Entity
from entitlements.domain.evaluation import evaluate, evaluate_list, list_by_fallback
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.override import Override
from entitlements.domain.overriding import NOTHING_KNOWN, decide_by_override, is_needless, overridden_list
from entitlements.domain.reason import AccessDeniedReason
from entitlements.domain.steps import KeptTrail, Rule
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
    an_override,
)

REVOKED = AccessDeniedReason.REVOKED
EXCEEDED = AccessDeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT
SPENT = AccessDeniedReason.INSUFFICIENT_CREDITS
MISMATCH = AccessDeniedReason.REQUESTED_VALUES_MISMATCH
FULL = an_entity(a_metered_feature("f", limit=1000, usage=a_usage(1000)))
DENIED = an_entity(a_boolean_feature("f", denied_reason=AccessDeniedReason.BUDGET_EXCEEDED, valid_until_ms=1))
BROKE = an_entity(a_credit(limit=5, usage=a_usage(5)))
CREDITS = an_override("", currency_id="tokens")
METERED, ENUM, NUMERIC, BOOLEAN, CREDIT = (
    EntitlementKind.METERED,
    EntitlementKind.ENUM,
    EntitlementKind.NUMERIC,
    EntitlementKind.BOOLEAN,
    EntitlementKind.CREDIT,
)
# What is known, what is asked, what a person said, and what is answered.
ROWS: dict[str, tuple[Entity, Query, Override, tuple[EntitlementKind, AccessDeniedReason | None]]] = {
    "a full meter is let in": (FULL, a_query(requested_usage=1), an_override(), (METERED, None)),
    "up to a higher limit": (
        FULL,
        a_query(requested_usage=1),
        an_override(usage_limit=1001.0),
        (METERED, None),
    ),
    "and no further": (
        FULL,
        a_query(requested_usage=2),
        an_override(usage_limit=1001.0),
        (METERED, EXCEEDED),
    ),
    "a period that is over starts anew": (
        an_entity(a_metered_feature("f", limit=5, usage=a_usage(9, period_end_ms=NOW_MS - 1))),
        a_query(requested_usage=7),
        an_override(usage_limit=7.0),
        (METERED, None),
    ),
    "a feature that draws on no credits": (
        an_entity(
            a_metered_feature(
                "f", denied_reason=SPENT, credit_rate=CreditRate(amount=1, currency_id="tokens")
            ),
            a_credit(limit=5, usage=a_usage(5)),
        ),
        a_query(),
        an_override(usage_limit=5.0),
        (METERED, None),
    ),
    "a meter that nobody knows": (NOTHING_KNOWN, a_query(requested_usage=3), an_override(), (METERED, None)),
    "the same by its limit": (NOTHING_KNOWN, a_query(), an_override(usage_limit=3.0), (METERED, None)),
    "what the cloud denies": (DENIED, a_query(), an_override(), (BOOLEAN, None)),
    "what the plan lacks": (an_entity(), a_query(), an_override(), (BOOLEAN, None)),
    "another kind than is known": (FULL, a_query(expected_kind=BOOLEAN), an_override(), (BOOLEAN, None)),
    "a denial": (FULL, a_query(), an_override(has_access=False), (METERED, REVOKED)),
    "a denial of the unknown": (
        NOTHING_KNOWN,
        a_query(expected_kind=ENUM),
        an_override(has_access=False),
        (ENUM, REVOKED),
    ),
    "values that are requested": (
        an_entity(an_enum_feature("f")),
        a_query(requested_values=("asia",)),
        an_override(),
        (ENUM, None),
    ),
    "values that are requested of nobody known": (
        NOTHING_KNOWN,
        a_query(requested_values=("asia",)),
        an_override(),
        (ENUM, None),
    ),
    "values that were named": (
        an_entity(an_enum_feature("f")),
        a_query(requested_values=("asia",)),
        an_override(enum_values=("asia",)),
        (ENUM, None),
    ),
    "and no others": (
        NOTHING_KNOWN,
        a_query(requested_values=("eu",)),
        an_override(enum_values=("asia",)),
        (ENUM, MISMATCH),
    ),
    "a number": (NOTHING_KNOWN, a_query(), an_override(value=7), (NUMERIC, None)),
    "the number that is known": (
        an_entity(a_numeric_feature("f")),
        a_query(),
        an_override(),
        (NUMERIC, None),
    ),
    "a number that nobody knows": (
        NOTHING_KNOWN,
        a_query(expected_kind=NUMERIC),
        an_override(),
        (NUMERIC, None),
    ),
    "credits": (BROKE, a_credit_query(requested_usage=9), CREDITS, (CREDIT, None)),
    "credits of the unknown": (NOTHING_KNOWN, a_credit_query(), CREDITS, (CREDIT, None)),
    "credits up to a balance": (
        BROKE,
        a_credit_query(requested_usage=3),
        an_override("", currency_id="tokens", usage_limit=7.0),
        (CREDIT, SPENT),
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_it_answers_in_the_kind_that_is_asked_for(case: str) -> None:
    entity, query, override, (kind, reason) = ROWS[case]
    decision = decide_by_override(entity, query, override, now_ms=NOW_MS)

    assert kind is decision.kind
    assert reason is decision.reason
    assert decision.has_access is (decision.reason is None)
    assert override == decision.override
    assert not decision.is_fallback
    assert decision.id == (query.currency_id or query.feature_id)


@pytest.mark.parametrize(
    ("kind", "override", "field", "expected"),
    [
        (NUMERIC, an_override(value=7), "value", 7),
        (NUMERIC, an_override(), "is_unlimited", True),
        (METERED, an_override(), "is_unlimited", True),
        (METERED, an_override(usage_limit=3.0), "usage_limit", 3.0),
        (ENUM, an_override(enum_values=("eu",)), "enum_values", ("eu",)),
    ],
)
def test_callers_see_the_terms_that_were_given(
    kind: EntitlementKind, override: Override, field: str, expected: Any
) -> None:
    decision = decide_by_override(NOTHING_KNOWN, a_query(expected_kind=kind), override, now_ms=NOW_MS)

    assert expected == getattr(decision.basis, field)


def test_the_steps_are_the_override_and_what_bounds_it() -> None:
    """No rule of the cloud's is among them: none was asked."""
    override, trail = an_override(usage_limit=3.0), KeptTrail()
    decide_by_override(FULL, a_query(), override, now_ms=NOW_MS, trail=trail)

    assert [(Rule.OVERRIDE, None), (Rule.LIMIT, EXCEEDED)] == [
        (step.rule, step.reason) for step in trail.steps
    ]
    assert override == trail.steps[0].subject


def test_a_list_holds_what_is_overridden() -> None:
    """In place of what the cloud says, beside what it does not know, credits last; no denial of nothing."""
    entity = an_entity(a_metered_feature("f", limit=1, usage=a_usage(2)), a_boolean_feature("g"), a_credit())
    overrides = [
        an_override("f"),
        an_override("new"),
        an_override("unknown", has_access=False),
        an_override("", currency_id="tokens", has_access=False),
    ]
    listed = overridden_list(evaluate_list(entity, now_ms=NOW_MS), entity, overrides, now_ms=NOW_MS)

    assert [("f", True), ("g", True), ("new", True), ("tokens", False)] == [
        (each.id, each.has_access) for each in listed.decisions
    ]


def test_a_list_of_nothing_known_holds_it_too() -> None:
    fallbacks = list_by_fallback(rules={"f": FallbackValue()})
    listed = overridden_list(fallbacks, NOTHING_KNOWN, [an_override("f")], now_ms=NOW_MS)

    assert [("f", True, False)] == [(each.id, each.has_access, each.is_fallback) for each in listed.decisions]


def test_it_is_needless_once_the_cloud_says_the_same() -> None:
    """Of a meter the next unit counts: who has used 1,000 of 1,000 is granted what they have, and no more."""
    half = an_entity(a_metered_feature("f", limit=1000, usage=a_usage(500)))
    asked = [(FULL, a_query()), (half, a_query()), (half, a_query(requested_usage=501))]

    assert [False, True, False] == [
        is_needless(an_override(), entity, query, rules={}, now_ms=NOW_MS) for entity, query in asked
    ]


def test_a_denial_shows_what_is_held() -> None:
    """As a denial of the cloud does; of nothing there is nothing to show."""
    query, override = a_query(), an_override(has_access=False)
    known = decide_by_override(FULL, query, override, now_ms=NOW_MS)
    unknown = decide_by_override(NOTHING_KNOWN, query, override, now_ms=NOW_MS)

    assert evaluate(FULL, query, rules={}, now_ms=NOW_MS).basis == known.basis
    assert unknown.basis is NO_ENTITLEMENT
