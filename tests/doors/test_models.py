"""What is kept in the database."""

import math

import pytest
from django.core.exceptions import ValidationError

from entitlements.domain.fallback import FallbackValue
from entitlements.models import FallbackRule

FULL = FallbackValue(
    has_access=True,
    usage_limit=5.5,
    is_unlimited=False,
    value=7,
    enum_values=("a", "b"),
    current_usage=1.0,
    has_soft_limit=True,
)


@pytest.mark.parametrize("value", [FallbackValue(), FULL])
def test_a_rule_holds_a_whole_fallback(value: FallbackValue) -> None:
    assert value == FallbackRule(feature_id="f", **FallbackRule.columns(value)).as_value()


@pytest.mark.parametrize(
    "wrong",
    [{"usage_limit": math.inf}, {"current_usage": math.nan}, {"value": 2**31}, {"enum_values": ["a", 1]}],
)
def test_what_no_answer_carries_is_refused(wrong: dict[str, object]) -> None:
    rule = FallbackRule(feature_id="f", **wrong)

    with pytest.raises(ValidationError) as refused:
        rule.clean_fields()

    assert set(wrong) == set(refused.value.message_dict)
