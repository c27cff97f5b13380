"""ENTITLEMENTS_FALLBACK: JSON text to values, or one sentence."""

import pytest

from entitlements.config.fallback_rules import parse_fallback_rules
from entitlements.domain.fallback import FallbackValue


def test_every_field() -> None:
    """contract/evaluation.md, section 3."""
    rules = parse_fallback_rules(
        """{"f": {"hasAccess": true, "usageLimit": 1.5, "isUnlimited": false, "value": 7,
                  "enumValues": ["a"], "currentUsage": 1, "hasSoftLimit": true},
            "g": {"hasAccess": false}}"""
    )

    assert {
        "f": FallbackValue(
            has_access=True,
            usage_limit=1.5,
            is_unlimited=False,
            value=7,
            enum_values=("a",),
            current_usage=1,
            has_soft_limit=True,
        ),
        "g": FallbackValue(has_access=False),
    } == rules


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "it must be a JSON object; Expecting property name .* at line 1, column 2"),
        ("[]", "it must be a JSON object of feature ids"),
        ("[" * 100_000, "nested too deeply"),
        ('{"f": {}}', "at f.hasAccess: field required"),
        ('{"f": {"hasAccess": "yes"}}', "at f.hasAccess: input should be a valid boolean"),
        ('{"f": {"hasAccess": true, "limit": 5}}', "at f.limit: extra inputs are not permitted"),
        ('{"f": {"hasAccess": true, "value": 2147483648}}', "at f.value: "),
        ('{"f": {"hasAccess": true, "usageLimit": NaN}}', "at f.usageLimit: "),
        ('{"f": {"hasAccess": true, "enumValues": [5]}}', "at f.enumValues.0: "),
        ('{"f": 5}', "at f: "),
    ],
)
def test_a_fault_is_named_with_its_key_and_position(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_fallback_rules(text)


def test_rules_cannot_be_changed_in_place() -> None:
    rules = parse_fallback_rules("{}")

    with pytest.raises(TypeError):
        rules["f"] = FallbackValue(has_access=True)  # type: ignore[index]
