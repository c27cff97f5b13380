"""After a gap suspects are re-checked at moments drawn by lot, within a minute and no more than it lasted."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.domain.gap import NO_GAP, SPREAD_SECONDS, Gap, GapLog, longest_spread

moments = st.floats(0, 1e6)


@pytest.mark.parametrize(
    ("gap", "last"),
    [
        (Gap(0, 1000), 1060),
        (Gap(0, 1000, 5), 1005),
        (Gap(-math.inf, 1000), 1060),
        (Gap(990, 1000), 1010),
        (Gap(1000, 1000), 1000),
    ],
    ids=["an outage", "no more may be unverified", "since ever", "a short one", "none"],
)
def test_it_is_a_minute_and_no_longer_than_it_lasted(gap: Gap, last: float) -> None:
    drawn = [gap.due_at(draw) for draw in (0, 0.5, 1)]

    assert last == gap.spread_until
    assert [1000, (1000 + last) / 2, last] == drawn


@given(moments, moments, st.floats(0, 1))
def test_no_turn_is_before_the_end_nor_past_the_bound(began_at: float, lasted: float, draw: float) -> None:
    gap = Gap(began_at, began_at + lasted)

    assert gap.ended_at <= gap.due_at(draw) <= gap.spread_until <= gap.ended_at + SPREAD_SECONDS


def test_a_short_gap_does_not_end_the_spreading_after_a_long_one() -> None:
    log = GapLog(max_unverified_seconds=300)
    log.note(is_well=True, now=5)
    before = log.last
    lasts = []
    for is_well, now in ((False, 10), (False, 500), (True, 1000), (True, 1001), (False, 1010), (True, 1011)):
        log.note(is_well=is_well, now=now)
        lasts.append(log.last)

    assert NO_GAP == before
    assert [NO_GAP] * 2 + [Gap(10, 1000)] * 4 == lasts


def test_the_gap_that_matters_is_the_one_with_the_last_turn() -> None:
    assert NO_GAP == longest_spread(())
    assert Gap(0, 100) == longest_spread((Gap(119, 120), Gap(0, 100), NO_GAP))
