"""What was asked and what was decided."""

import pytest

from entitlements.domain.decision import NO_ENTITLEMENT, Basis, Decision, Query, invalid_field
from entitlements.domain.entitlement import EntitlementKind
from entitlements.domain.entity import EntityKey
from entitlements.domain.fallback import DEFAULT_FALLBACK
from tests.builders import A_KEY, a_boolean_feature


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (Query(key=A_KEY, feature_id="f"), None),
        (Query(key=A_KEY, currency_id="tokens"), None),
        (Query(key=EntityKey(""), feature_id="f"), "customer_id"),
        (Query(key=EntityKey("")), "customer_id"),
        (Query(key=A_KEY), "feature_id"),
        (Query(key=A_KEY, feature_id="f", currency_id="tokens"), "feature_id"),
    ],
)
def test_invalid_query_names_its_field(query: Query, field: str | None) -> None:
    """A customer and exactly one of feature and currency are needed (contract/evaluation.md, section 3)."""
    assert field == invalid_field(query)


@pytest.mark.parametrize(
    ("basis", "is_fallback"),
    [(DEFAULT_FALLBACK, True), (a_boolean_feature(), False), (NO_ENTITLEMENT, False)],
)
def test_only_a_configured_value_makes_a_fallback(basis: Basis, is_fallback: bool) -> None:
    """What the cloud said, also that it holds nothing, is no fallback."""
    decision = Decision(has_access=True, kind=EntitlementKind.BOOLEAN, basis=basis)

    assert is_fallback is decision.is_fallback
