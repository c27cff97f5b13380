"""When a source is not asked, and that it always is again."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.domain.breaker import (
    FAILURES_TO_OPEN,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    Breaker,
    BreakerState,
)

NOW = 1_000.0


def _open_breaker() -> Breaker:
    """A breaker that opened at NOW."""
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(NOW)
    return breaker


def _probing_breaker() -> Breaker:
    """A breaker whose first pause is over and whose probe is under way."""
    breaker = _open_breaker()
    assert breaker.try_acquire(NOW + FIRST_PAUSE_SECONDS)
    return breaker


def test_closed_circuit_always_asks() -> None:
    """Nothing has failed yet."""
    breaker = Breaker()

    assert breaker.try_acquire(NOW)
    assert breaker.try_acquire(NOW)
    assert breaker.state is BreakerState.CLOSED


def test_failures_in_a_row_open_it() -> None:
    """Only the last of the row opens the circuit."""
    breaker = Breaker()
    states = []

    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(NOW)
        states.append(breaker.state)

    assert [BreakerState.CLOSED] * (FAILURES_TO_OPEN - 1) + [BreakerState.OPEN] == states
    assert not breaker.try_acquire(NOW)


def test_circuit_opens_at_the_third_failure_for_one_to_thirty_seconds() -> None:
    """Short enough that nobody waits for it, long enough that an outage is not hammered."""
    assert 3 == FAILURES_TO_OPEN
    assert 1.0 == FIRST_PAUSE_SECONDS
    assert 30.0 == LONGEST_PAUSE_SECONDS


def test_success_ends_the_row() -> None:
    """Failures with a success between them are not in a row."""
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed(NOW)

    breaker.succeeded()
    breaker.failed(NOW)

    assert breaker.state is BreakerState.CLOSED


def test_open_circuit_waits_for_its_pause() -> None:
    """Up to the pause's end nothing is asked, from then on one probe."""
    breaker = _open_breaker()

    answers = [
        breaker.try_acquire(NOW + FIRST_PAUSE_SECONDS - 0.001),
        breaker.try_acquire(NOW + FIRST_PAUSE_SECONDS),
        breaker.try_acquire(NOW + FIRST_PAUSE_SECONDS),
    ]

    assert [False, True, False] == answers
    assert breaker.state is BreakerState.HALF_OPEN


def test_asking_whether_it_would_allow_starts_no_probe() -> None:
    """A look changes nothing."""
    breaker = _open_breaker()

    looks = [breaker.would_allow(NOW), breaker.would_allow(NOW + FIRST_PAUSE_SECONDS)]

    assert [False, True] == looks
    assert breaker.state is BreakerState.OPEN


def test_probe_that_succeeds_closes_it() -> None:
    """After a success the circuit is as new: the next pause is the first again."""
    breaker = _probing_breaker()
    breaker.failed(NOW)
    assert breaker.try_acquire(NOW + 10)

    breaker.succeeded()

    assert breaker.state is BreakerState.CLOSED
    for _ in range(FAILURES_TO_OPEN):
        assert breaker.try_acquire(NOW)
        breaker.failed(NOW)
    assert breaker.would_allow(NOW + FIRST_PAUSE_SECONDS)


def test_probe_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    """1, 2, 4, 8, 16, 30, 30 … seconds."""
    breaker = _open_breaker()
    now = NOW + FIRST_PAUSE_SECONDS
    pauses = []

    for pause in (2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        assert breaker.try_acquire(now)
        breaker.failed(now)
        pauses.append((breaker.would_allow(now + pause - 0.01), breaker.would_allow(now + pause)))
        now += pause

    assert [(False, True)] * 6 == pauses


def test_late_failure_does_not_prolong_a_pause() -> None:
    """A question that was under way when the circuit opened changes nothing by failing."""
    breaker = _open_breaker()

    breaker.failed(NOW + 0.9)

    assert breaker.would_allow(NOW + FIRST_PAUSE_SECONDS)


def test_trip_opens_at_once() -> None:
    """A source that asks for a pause gets it without a row of failures."""
    breaker = Breaker()

    breaker.trip(NOW, pause_seconds=5)

    assert not breaker.would_allow(NOW + 4.9)
    assert breaker.would_allow(NOW + 5)


@pytest.mark.parametrize("pause_seconds", [31.0, 1e300, math.inf, math.nan])
def test_trip_is_bounded(pause_seconds: float) -> None:
    """Whatever pause a source asks for, it is asked again after the longest."""
    breaker = Breaker()

    breaker.trip(NOW, pause_seconds=pause_seconds)

    looks = [breaker.would_allow(NOW + 29.9), breaker.would_allow(NOW + LONGEST_PAUSE_SECONDS)]
    assert [False, True] == looks


def test_abandoned_probe_lets_the_next_one_probe() -> None:
    """A probe whose caller left reports nothing, so the next may ask at once."""
    breaker = _probing_breaker()

    breaker.abandoned(NOW + 2)

    assert breaker.try_acquire(NOW + 2)
    assert breaker.state is BreakerState.HALF_OPEN


def test_abandoned_question_of_a_closed_circuit_changes_nothing() -> None:
    """Only a probe is waited for."""
    breaker = Breaker()

    breaker.abandoned(NOW)

    assert breaker.state is BreakerState.CLOSED


acts = st.tuples(
    st.sampled_from(["ask", "succeed", "fail", "abandon", "trip"]),
    st.floats(0, 40, allow_nan=False),
    st.floats(),
)


def _play(breaker: Breaker, steps: list[tuple[str, float, float]]) -> float:
    """Does the acts one after the other, in any order as callers may; returns when the last was done."""
    now = NOW
    for act, seconds, pause_seconds in steps:
        now += seconds
        match act:
            case "ask":
                breaker.try_acquire(now)
            case "succeed":
                breaker.succeeded()
            case "fail":
                breaker.failed(now)
            case "abandon":
                breaker.abandoned(now)
            case _:
                breaker.trip(now, pause_seconds=pause_seconds)
    return now


@given(st.lists(acts, max_size=40))
def test_never_open_for_ever(steps: list[tuple[str, float, float]]) -> None:
    """After anything at all, once the probe has an outcome the source is asked within the longest pause."""
    breaker = Breaker()
    now = _play(breaker, steps)

    breaker.failed(now)

    assert breaker.would_allow(now + LONGEST_PAUSE_SECONDS)


@given(st.lists(acts, max_size=40))
def test_at_most_one_probe_is_under_way(steps: list[tuple[str, float, float]]) -> None:
    """While half open nobody else asks, however late it is."""
    breaker = Breaker()
    now = _play(breaker, steps)
    breaker.trip(now, pause_seconds=0)

    answers = [breaker.try_acquire(now), breaker.try_acquire(now + 1_000_000)]

    assert [True, False] == answers


@given(st.lists(acts, max_size=40))
def test_look_agrees_with_the_question(steps: list[tuple[str, float, float]]) -> None:
    """`would_allow` says what `try_acquire` then says."""
    breaker = Breaker()
    now = _play(breaker, steps)

    look = breaker.would_allow(now)

    assert breaker.try_acquire(now) == look
