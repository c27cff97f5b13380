"""Which fallback is in force, and in which arm it is answered."""

import pytest

from entitlements.domain.entitlement import EntitlementKind
from entitlements.domain.fallback import (
    DEFAULT_FALLBACK,
    FallbackValue,
    choose_fallback,
    kind_of_fallback,
)

A_CALLS = FallbackValue(has_access=True, value=1)
A_RULE = FallbackValue(has_access=True, usage_limit=7.0)

LIMIT = FallbackValue(usage_limit=0.0)
VALUES = FallbackValue(enum_values=("a",))
NUMBER = FallbackValue(value=0)
BARE = FallbackValue(has_access=True, is_unlimited=True)


@pytest.mark.parametrize(
    ("call", "rules", "chosen"),
    [
        (A_CALLS, {"f": A_RULE}, A_CALLS),
        (FallbackValue(), {"f": A_RULE}, FallbackValue()),
        (None, {"f": A_RULE}, A_RULE),
        (None, {"g": A_RULE}, DEFAULT_FALLBACK),
    ],
)
def test_first_fallback_that_exists_wins_whole(
    call: FallbackValue | None, rules: dict[str, FallbackValue], chosen: FallbackValue
) -> None:
    """The call's, then the configured one, then the default; nothing is mixed from two."""
    assert chosen == choose_fallback("f", call=call, rules=rules)


def test_default_denies_and_holds_nothing() -> None:
    """Whoever configures nothing gives nothing away."""
    assert FallbackValue(has_access=False) == DEFAULT_FALLBACK


@pytest.mark.parametrize(
    ("call", "rule", "requested_usage", "requested_values", "kind"),
    [
        (None, None, None, (), EntitlementKind.BOOLEAN),
        (BARE, None, None, (), EntitlementKind.BOOLEAN),
        (None, None, 0.0, (), EntitlementKind.METERED),
        (NUMBER, VALUES, 2.0, ("a",), EntitlementKind.METERED),
        (LIMIT, None, None, (), EntitlementKind.METERED),
        (LIMIT, VALUES, None, ("a",), EntitlementKind.METERED),
        (None, None, None, ("a",), EntitlementKind.ENUM),
        (NUMBER, LIMIT, None, ("a",), EntitlementKind.ENUM),
        (VALUES, LIMIT, None, (), EntitlementKind.ENUM),
        (NUMBER, LIMIT, None, (), EntitlementKind.NUMERIC),
        (BARE, LIMIT, None, (), EntitlementKind.METERED),
        (None, LIMIT, None, (), EntitlementKind.METERED),
        (None, VALUES, None, (), EntitlementKind.ENUM),
        (None, NUMBER, None, (), EntitlementKind.NUMERIC),
        (FallbackValue(enum_values=()), BARE, None, (), EntitlementKind.BOOLEAN),
    ],
)
def test_arm_follows_the_options_and_then_the_rule(
    call: FallbackValue | None,
    rule: FallbackValue | None,
    requested_usage: float | None,
    requested_values: tuple[str, ...],
    kind: EntitlementKind,
) -> None:
    """Usage, then values, then a number; the call's options first (contract/evaluation.md, section 3)."""
    found = kind_of_fallback(call, rule, requested_usage=requested_usage, requested_values=requested_values)

    assert kind is found


def test_arm_of_a_listed_rule_is_its_own() -> None:
    """A list has no options; the rule alone says."""
    assert EntitlementKind.METERED is kind_of_fallback(LIMIT)
