"""What lasts of a difference is distinguished from what one side only saw earlier."""

from entitlements.domain.difference import Constancy, Difference, judge

USED = Difference("current_usage", "", "1", "2")
LIMIT = Difference("usage_limit", "", "10", "11")


def test_the_same_two_values_twice_is_a_difference_that_lasts() -> None:
    assert {LIMIT: Constancy.LASTING} == judge([[LIMIT], [LIMIT]])
    assert {LIMIT: Constancy.LASTING} == judge([[], [LIMIT], [LIMIT]])


def test_what_agrees_when_asked_again_was_seen_earlier_by_one() -> None:
    assert {USED: Constancy.TRANSIENT} == judge([[USED], []])
    assert {USED: Constancy.TRANSIENT} == judge([[USED], [USED], []])


def test_what_moves_is_undecided_however_often_it_is_asked() -> None:
    """Each side may be a moment behind: only at rest do two values say anything."""
    moved = USED._replace(ours="5", theirs="6")

    assert {moved: Constancy.UNDECIDED} == judge([[USED], [moved]])
    assert {USED: Constancy.UNDECIDED} == judge([[USED]])


def test_each_field_is_judged_by_itself() -> None:
    """And each entitlement of a list."""
    listed = [LIMIT._replace(element=each) for each in ("a", "b")]

    judged = judge([[USED, LIMIT, *listed], [LIMIT, listed[0]]])

    assert {
        USED: Constancy.TRANSIENT,
        LIMIT: Constancy.LASTING,
        listed[0]: Constancy.LASTING,
        listed[1]: Constancy.TRANSIENT,
    } == judged


def test_what_was_seen_once_and_came_back_is_reported_once_by_its_last_values() -> None:
    later = LIMIT._replace(theirs="12")

    assert {later: Constancy.UNDECIDED} == judge([[LIMIT], [], [later]])
