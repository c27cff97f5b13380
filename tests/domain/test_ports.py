"""What of the ports is a value."""

import pytest

from entitlements.domain.entity import EntityKey
from entitlements.domain.ports import FetchClaim, FetchLockOutcome, Source
from tests.builders import a_cached_entity

OURS, THEIRS = FetchLockOutcome.ACQUIRED, FetchLockOutcome.FETCHED_ELSEWHERE


def test_sources_are_named_in_words_that_callers_see() -> None:
    """The words are part of metrics and of an answer's provenance: changing one breaks a dashboard."""
    assert ["memory", "redis", "edge", "api", "fallback", "offline", "override", "snapshot"] == [
        source.value for source in Source
    ]


@pytest.mark.parametrize(
    ("turn", "is_there", "held_at", "may_be"),
    [
        (THEIRS, False, None, True),
        (THEIRS, False, 1.0, True),
        (OURS, True, None, True),
        (OURS, True, 1.0, False),
        (OURS, False, None, False),
    ],
)
def test_what_was_missed_a_moment_ago_is_looked_for_again_where_it_stands_by_now(
    turn: FetchLockOutcome, is_there: bool, held_at: float | None, may_be: bool
) -> None:
    """What is held is checked again, and stands there anyway."""
    claim = FetchClaim(key=EntityKey("c"), turn=turn, is_there=is_there)
    held = None if held_at is None else a_cached_entity(confirmed_at=held_at)

    assert may_be == claim.may_be_answered(held)


@pytest.mark.parametrize(
    ("turn", "held_at", "found_at", "is_answered"),
    [
        (THEIRS, None, 1.0, True),
        (THEIRS, 2.0, 1.0, False),
        (THEIRS, 2.0, 3.0, True),
        (OURS, None, 4.0, False),
        (OURS, None, 5.0, True),
    ],
)
def test_what_stands_there_is_an_answer_where_it_is_news(
    turn: FetchLockOutcome, held_at: float | None, found_at: float, is_answered: bool
) -> None:
    """What a re-check finds is not what it was to check."""
    claim = FetchClaim(key=EntityKey("c"), turn=turn, is_there=True)
    held = None if held_at is None else a_cached_entity(confirmed_at=held_at)

    assert is_answered == claim.is_answered(a_cached_entity(confirmed_at=found_at), held, since=5.0)
