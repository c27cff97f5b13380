"""Where two answers to one question differ, and whether that lasts once both are asked again."""

from collections.abc import Collection, Sequence
from enum import Enum
from typing import NamedTuple


class Difference(NamedTuple):
    """One field in which two answers differ."""

    field: str
    """Its path in the message, `entitlement.metered.current_usage`; one of a bounded set."""
    element: str
    """Which one of a list, by its feature or currency; empty where there is no list."""
    ours: str | None
    """The value as text; None where it is not set."""
    theirs: str | None


class Constancy(Enum):
    """What became of a difference as both were asked again."""

    LASTING = "lasting"
    """Asked once more, both answered the same two values."""
    TRANSIENT = "transient"
    """The next answers agree: one side saw a change earlier."""
    UNDECIDED = "undecided"
    """They still differ, but by other values: it moves faster than it is asked for."""


WORST_FIRST = (Constancy.LASTING, Constancy.UNDECIDED, Constancy.TRANSIENT)


def worst_of(verdicts: Collection[Constancy]) -> Constancy:
    """What all differences of one question come to; there must be one."""
    return next(each for each in WORST_FIRST if each in verdicts)


def judge(asked: Sequence[Sequence[Difference]]) -> dict[Difference, Constancy]:
    """What lasts of the differences of one question, by the differences of each asking, the first one first.

    Each place that ever differed is reported once, by the last values that it differed by.
    """
    *_, last = asked
    before = set(asked[-2]) if len(asked) > 1 else set()
    latest = {each[:2]: each for differences in asked for each in differences}
    still = {each[:2] for each in last}
    return {each: _constancy(differs=place in still, stood=each in before) for place, each in latest.items()}


def _constancy(*, differs: bool, stood: bool) -> Constancy:
    if not differs:
        return Constancy.TRANSIENT
    return Constancy.LASTING if stood else Constancy.UNDECIDED
