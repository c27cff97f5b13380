"""What an override must be to be begun."""

import math
from dataclasses import replace

import pytest

from entitlements.domain.entity import EntityKey
from entitlements.domain.override import (
    MAX_DURATION_MS,
    MAX_REASON_LENGTH,
    Override,
    fault_of,
    subject_of,
    terms_of,
)
from tests.builders import A_KEY, a_query, an_override

USABLE = {
    "a grant without terms": an_override(),
    "a denial": an_override(has_access=False),
    "up to a limit": an_override(usage_limit=0.0),
    "a number": an_override(value=7),
    "values": an_override(enum_values=("eu",)),
    "credits": an_override("", currency_id="tokens", usage_limit=5.0),
    "seven days": an_override(lasts_ms=MAX_DURATION_MS),
    "of a resource": replace(an_override(), key=EntityKey("c", "r")),
}
UNUSABLE = {
    "customer": replace(an_override(), key=EntityKey("")),
    "feature or currency": an_override(""),
    "feature or currency ": an_override("f", currency_id="tokens"),
    "reason must be given": replace(an_override(), reason=" \n"),
    "reason must be no longer": replace(an_override(), reason="x" * (MAX_REASON_LENGTH + 1)),
    "duration": an_override(lasts_ms=MAX_DURATION_MS + 1),
    "duration ": an_override(lasts_ms=0),
    "limit, value and values must be left out": an_override(has_access=False, value=3),
    "limit, value and values must not": an_override(usage_limit=3.0, value=3),
    "value and values must be left out for credits": an_override("", currency_id="tokens", value=3),
    "limit must be": an_override(usage_limit=-1.0),
    "limit must be ": an_override(usage_limit=math.nan),
    "value must be": an_override(value=2**31),
    "values must be": an_override(enum_values=()),
    "values must be ": an_override(enum_values=("eu", "")),
    "values must be  ": an_override(enum_values=("eu",) * 101),
}


@pytest.mark.parametrize("override", USABLE.values(), ids=USABLE)
def test_what_can_be_begun(override: Override) -> None:
    assert fault_of(override) is None


@pytest.mark.parametrize("words", UNUSABLE)
def test_what_cannot_is_named_by_its_field(words: str) -> None:
    assert (fault_of(UNUSABLE[words]) or "").startswith(words.strip())


def test_it_is_about_one_feature_or_one_currency() -> None:
    override = an_override("f")

    assert [True, False] == [override.target == a_query(each).target for each in ("f", "g")]
    assert (A_KEY, "f", None) == override.target


def test_it_is_named_by_whom_and_what_it_is_about() -> None:
    of_a_resource = replace(an_override("f"), key=EntityKey("c", "r"))
    of_credits = replace(an_override("", currency_id="tokens"), key=EntityKey("c"))

    assert "c / r / f" == subject_of(of_a_resource)
    assert "c / tokens" == subject_of(of_credits)


def test_its_terms_are_those_that_were_given() -> None:
    granted, denied = an_override(usage_limit=0.0), an_override(has_access=False)

    assert {"has_access": True, "limit": 0.0, "ends_ms": granted.ends_ms} == terms_of(granted)
    assert {"has_access": False, "ends_ms": denied.ends_ms} == terms_of(denied)


@pytest.mark.parametrize(("left_ms", "expected"), [(None, 3_600_000), (1_000, 1_000), (7_200_000, 3_600_000)])
def test_it_lasts_no_longer_than_was_noted_and_never_longer_than_it_was_made_for(
    left_ms: int | None, expected: int
) -> None:
    assert expected == replace(an_override(lasts_ms=3_600_000), left_ms=left_ms).longest_left_ms
