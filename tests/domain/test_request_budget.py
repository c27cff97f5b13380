"""A budget of requests a minute, with a clock that is given the time, and jumps."""

import random

import pytest

from entitlements.domain.request_budget import (
    BURST_SECONDS,
    HOLD_SECONDS,
    MINUTE_SECONDS,
    REOPENING_COST,
    Pace,
    RequestBudget,
)

NOW = 1_000.0


def hammered(budget: RequestBudget, *, start: float, seconds: float, step: float = 0.1) -> int:
    """How much a crowd gets that never stops asking."""
    return sum(budget.take(20, now=start + n * step).tokens for n in range(round(seconds / step)))


@pytest.mark.parametrize("per_minute", [60, 600, 5400])
def test_no_minute_holds_more(per_minute: int) -> None:
    """Not the first one either, in which the budget was full, nor with what was taken just before it."""
    budget = RequestBudget(Pace(per_minute))

    used = hammered(budget, start=NOW, seconds=MINUTE_SECONDS + HOLD_SECONDS, step=0.01)

    assert 0.95 * per_minute <= used <= per_minute


def test_bursts_at_random_times_keep_to_it() -> None:
    dice, budget, now = random.Random(7), RequestBudget(Pace(600)), NOW
    taken: list[tuple[float, int]] = []
    for _ in range(2000):
        now += dice.expovariate(2)
        taken.append((now, budget.take(dice.randint(1, 60), now=now).tokens))

    for start, _ in taken:
        assert sum(n for at, n in taken if start <= at < start + MINUTE_SECONDS + HOLD_SECONDS) <= 600


def test_what_is_left_is_reported() -> None:
    budget = RequestBudget(Pace(660))

    assert 20 == budget.take(20, now=NOW).tokens
    assert 30 == budget.take(0, now=NOW).remaining
    assert 30 == budget.take(99, now=NOW).tokens
    assert 0 == budget.take(1, now=NOW).tokens
    assert budget.take(99, now=NOW + 1.001).tokens == 10


def test_a_small_share_still_has_one() -> None:
    """Of a budget of 60 among 200 processes."""
    budget = RequestBudget(Pace(60 / 200))

    assert [1, 0] == [budget.take(5, now=NOW).tokens for _ in range(2)]
    assert hammered(budget, start=NOW, seconds=3600, step=1) == pytest.approx(60 * 0.3 * 60 / 66, abs=1)


@pytest.mark.parametrize("jump", [-86_400.0, -10.0, 86_400.0])
def test_a_clock_that_jumps_neither_locks_nor_floods(jump: float) -> None:
    budget = RequestBudget(Pace(600))
    hammered(budget, start=NOW, seconds=10)

    after = NOW + 10 + jump
    assert budget.take(1000, now=after).tokens <= Pace(600).burst
    assert budget.take(1, now=after + BURST_SECONDS + 1).tokens == 1


def test_a_pause_gives_nothing_and_then_little() -> None:
    """A second 429 within it does not prolong it."""
    budget, burst = RequestBudget(Pace(660)), Pace(660).burst
    assert budget.take(0, now=NOW).remaining == burst
    budget.close(10, now=NOW)
    budget.close(50, now=NOW + 5)

    paused = budget.take(20, now=NOW + 9.9)
    assert 0 == paused.tokens
    assert 0 == paused.remaining
    assert paused.closed_seconds == pytest.approx(0.1)
    assert hammered(budget, start=NOW + 10, seconds=4) == pytest.approx(4 * 10 / REOPENING_COST, abs=2)
    assert hammered(budget, start=NOW + 100, seconds=4) > burst


def test_a_pause_ends_though_the_clock_was_set_back() -> None:
    budget = RequestBudget(Pace(600))
    budget.close(10, now=NOW)

    assert budget.take(1, now=NOW - 3600).closed_seconds == 0
    assert budget.take(1, now=NOW - 3600 + BURST_SECONDS + 1).tokens == 1
