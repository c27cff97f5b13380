"""Redis' clock by the quickest answer, so that one process's writes keep the order of its own clock."""

from typing import cast

import pytest

from entitlements.redis.clocks import TRUSTED_SECONDS, TwoClocks, redis_ms
from entitlements.redis.connection import Client
from tests.fakes import FakeClock


class SlowRedis:
    """Tells the time; on the way there and back it takes as long as it is set to."""

    def __init__(self, clock: FakeClock, *, ahead_ms: int = 5000) -> None:
        self.clock = clock
        self.ahead_ms = ahead_ms
        self.there_seconds = self.back_seconds = 0.001
        self.asked = 0

    def evalsha(self, *_: object) -> tuple[int, int]:
        self.asked += 1
        self.clock.advance(self.there_seconds)
        now_ms = int(self.clock.monotonic() * 1000 + self.ahead_ms)
        self.clock.advance(self.back_seconds)
        return now_ms // 1000, now_ms % 1000 * 1000


@pytest.fixture
def redis() -> SlowRedis:
    return SlowRedis(FakeClock())


def measured(clocks: TwoClocks, redis: SlowRedis) -> bool:
    asked_at = redis.clock.monotonic()
    return clocks.measured(redis_ms(cast("Client", redis), "a"), since=asked_at)


def test_a_moment_is_taken_by_redis_clock(redis: SlowRedis) -> None:
    clocks = TwoClocks(redis.clock.monotonic)
    moment = redis.clock.monotonic()

    measured(clocks, redis)

    assert round(moment * 1000) + redis.ahead_ms == clocks.as_redis_ms(moment)


@pytest.mark.parametrize(("there_seconds", "back_seconds"), [(0.0, 0.5), (0.5, 0.0)])
def test_a_slow_answer_does_not_move_the_order_of_writes(
    redis: SlowRedis, there_seconds: float, back_seconds: float
) -> None:
    """A thread that waited for the processor after the answer must not make the later write look older."""
    clocks = TwoClocks(redis.clock.monotonic)
    measured(clocks, redis)
    first = redis.clock.monotonic()
    reported_first = clocks.as_redis_ms(first)

    redis.there_seconds, redis.back_seconds = there_seconds, back_seconds
    measured(clocks, redis)

    assert reported_first + 1 == clocks.as_redis_ms(first + 0.001)


@pytest.mark.parametrize(("there_seconds", "back_seconds"), [(0.0, 0.5), (0.5, 0.0), (0.02, 0.0)])
def test_a_better_measurement_does_not_move_the_order_of_writes(
    redis: SlowRedis, there_seconds: float, back_seconds: float
) -> None:
    """The first one is slow where the processor is busy, as at a start; two writes a millisecond apart."""
    clocks = TwoClocks(redis.clock.monotonic)
    redis.there_seconds, redis.back_seconds = there_seconds, back_seconds
    measured(clocks, redis)
    first = redis.clock.monotonic()
    reckoned_first = clocks.as_redis_ms(first)

    redis.there_seconds = redis.back_seconds = 0.0
    measured(clocks, redis)

    assert clocks.as_redis_ms(first - 0.001) <= reckoned_first
    assert clocks.as_redis_ms(first + 0.001) >= reckoned_first
    a_second_later = round((first + 1) * 1000) + redis.ahead_ms
    assert clocks.as_redis_ms(first + 1) == a_second_later


def test_when_a_write_is_sent_does_not_move_the_order_of_what_is_known(redis: SlowRedis) -> None:
    """Each write asks for both: the moment that it is sent is later than the one since when it is known."""
    clocks, client = TwoClocks(redis.clock.monotonic), cast("Client", redis)
    redis.there_seconds, redis.back_seconds = 0.5, 0.0
    first = redis.clock.monotonic()
    clocks.redis_ms(client, "a")
    reckoned_first = clocks.as_redis_ms(first)
    redis.there_seconds = redis.back_seconds = 0.0
    measured(clocks, redis)

    second = redis.clock.monotonic() - 0.499
    clocks.redis_ms(client, "a")

    assert second > first
    assert clocks.as_redis_ms(second) >= reckoned_first


def test_a_clock_that_was_set_is_noticed(redis: SlowRedis) -> None:
    """As after a fail-over, also where the answer is slower than the best one."""
    clocks = TwoClocks(redis.clock.monotonic)
    measured(clocks, redis)
    redis.ahead_ms, redis.back_seconds = -7000, 0.01

    measured(clocks, redis)

    moment = redis.clock.monotonic()
    assert pytest.approx(moment * 1000 - 7000, abs=10) == clocks.as_redis_ms(moment)


@pytest.mark.parametrize("step_seconds", [0.0003, 0.0007, 0.0009])
def test_quick_answers_look_like_no_clock_that_was_set(redis: SlowRedis, step_seconds: float) -> None:
    """Each would have its write repeated. Redis' time is cut to a millisecond, and they take less."""
    clocks = TwoClocks(redis.clock.monotonic)
    redis.there_seconds = redis.back_seconds = 0.0001
    measured(clocks, redis)

    was_set = []
    for _ in range(20):
        redis.clock.advance(step_seconds)
        was_set.append(measured(clocks, redis))

    assert not any(was_set)


@pytest.mark.parametrize("drift", [0.0004, -0.0004])
def test_a_clock_that_is_set_right_by_and_by_looks_like_none_that_was_set(
    redis: SlowRedis, drift: float
) -> None:
    clocks = TwoClocks(redis.clock.monotonic)
    measured(clocks, redis)
    redis.clock.advance(TRUSTED_SECONDS - 1)
    redis.ahead_ms += round(TRUSTED_SECONDS * 1000 * drift)

    assert not measured(clocks, redis)


def test_redis_is_asked_for_its_time_only_where_nothing_said_it_of_late(redis: SlowRedis) -> None:
    clocks = TwoClocks(redis.clock.monotonic)
    client = cast("Client", redis)
    first = clocks.redis_ms(client, "a")
    redis.clock.advance(TRUSTED_SECONDS)
    asked_at = redis.clock.monotonic()

    later = clocks.redis_ms(client, "a")
    redis.clock.advance(TRUSTED_SECONDS)
    clocks.redis_ms(client, "a")

    assert first + TRUSTED_SECONDS * 1000 == pytest.approx(later, abs=10)
    assert pytest.approx(asked_at * 1000 + redis.ahead_ms, abs=10) == later
    assert redis.asked == 2  # at first, and when that was too long ago


@pytest.mark.parametrize(("back_ms", "is_another"), [(0, False), (1, False), (12_000, True), (-12_000, True)])
def test_an_answer_says_where_the_clock_is_another(
    redis: SlowRedis, back_ms: int, *, is_another: bool
) -> None:
    clocks = TwoClocks(redis.clock.monotonic)
    measured(clocks, redis)
    redis.ahead_ms -= back_ms
    asked_at = redis.clock.monotonic()

    assert is_another is clocks.measured(redis_ms(cast("Client", redis), "a"), since=asked_at)


@pytest.mark.parametrize(("there_seconds", "back_seconds"), [(0.0, 0.5), (0.5, 0.0)])
def test_an_old_measurement_gives_no_way_to_a_worse_one(
    redis: SlowRedis, there_seconds: float, back_seconds: float
) -> None:
    """Of two writers a quarter of a second apart the earlier could be taken for the later.

    Their good measurements were a minute old, and the next answer, by a slow line, replaced them.
    """
    clocks, client = TwoClocks(redis.clock.monotonic), cast("Client", redis)
    measured(clocks, redis)
    redis.clock.advance(TRUSTED_SECONDS + 1)
    redis.there_seconds, redis.back_seconds = there_seconds, back_seconds

    for _ in range(3):
        clocks.redis_ms(client, "a")

    moment = redis.clock.monotonic()
    assert pytest.approx(moment * 1000 + redis.ahead_ms, abs=2) == clocks.as_redis_ms(moment)
    assert redis.asked == 2  # that it was no better does not have everybody ask again


def test_a_worse_measurement_takes_over_once_the_drift_may_be_worse(redis: SlowRedis) -> None:
    """A Redis that is never quick is measured all the same."""
    clocks = TwoClocks(redis.clock.monotonic)
    measured(clocks, redis)
    redis.clock.advance(1000)
    redis.ahead_ms += 400
    redis.there_seconds = redis.back_seconds = 0.25

    measured(clocks, redis)

    moment = redis.clock.monotonic()
    assert round(moment * 1000) + redis.ahead_ms == clocks.as_redis_ms(moment)


def test_an_old_measurement_gives_way(redis: SlowRedis) -> None:
    """Two clocks drift."""
    clocks = TwoClocks(redis.clock.monotonic)
    measured(clocks, redis)
    redis.clock.advance(TRUSTED_SECONDS + 1)
    redis.ahead_ms += 8
    redis.there_seconds = redis.back_seconds = 0.01

    measured(clocks, redis)

    moment = redis.clock.monotonic()
    assert round(moment * 1000) + redis.ahead_ms == clocks.as_redis_ms(moment)
