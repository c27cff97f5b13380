"""A table is looked at four times a second: what is as it was costs next to nothing."""

import pytest

from entitlements.domain.fallback import FallbackValue
from entitlements.models import FallbackRule
from entitlements.parsed_rows import ParsedRows

pytestmark = pytest.mark.django_db


class Looked:
    """Looks, and notes which rows were parsed and which skipped."""

    def __init__(self) -> None:
        self.parsed: list[str] = []
        self.skipped: list[str] = []
        self._rows = ParsedRows(self._parse)

    def look(self) -> list[FallbackValue]:
        self.parsed.clear()
        self.skipped.clear()
        return list(self._rows.look(FallbackRule.objects.order_by("feature_id"), self._skip))

    def _parse(self, rule: FallbackRule) -> FallbackValue:
        self.parsed.append(rule.feature_id)
        return rule.as_value()

    def _skip(self, rule: FallbackRule, cause: str) -> None:
        self.skipped.append(f"{rule.feature_id}: {cause}")


@pytest.fixture
def looked() -> Looked:
    for feature_id in ("a", "b"):
        FallbackRule.objects.create(feature_id=feature_id, has_access=True)
    looked = Looked()
    looked.look()
    return looked


def test_what_is_as_it_was_is_not_parsed_again(looked: Looked) -> None:
    assert looked.look() == [FallbackValue(has_access=True)] * 2
    assert looked.parsed == []


@pytest.mark.parametrize("change", [{"has_access": False}, {"usage_limit": 5.0}, {"enum_values": ["x"]}])
def test_a_row_that_anybody_changed_is(looked: Looked, change: dict[str, object]) -> None:
    """Also past our forms, which would have set when."""
    FallbackRule.objects.filter(feature_id="b").update(**change)

    found = looked.look()

    assert looked.parsed == ["b"]
    assert found[1] == FallbackRule.objects.get(feature_id="b").as_value()


def test_a_row_that_cannot_be_used_is_named_at_each_look(looked: Looked) -> None:
    """So that health tells of it for as long as it is there; mended, it is used."""
    FallbackRule.objects.filter(feature_id="a").update(enum_values=5)
    for _ in range(2):
        assert looked.look() == [FallbackValue(has_access=True)]
        assert looked.skipped == ["a: enum_values cannot be used"]

    FallbackRule.objects.filter(feature_id="a").update(enum_values=None)

    assert looked.look() == [FallbackValue(has_access=True)] * 2


def test_a_row_that_is_gone_is_forgotten(looked: Looked) -> None:
    FallbackRule.objects.filter(feature_id="a").delete()

    assert looked.look() == [FallbackValue(has_access=True)]
