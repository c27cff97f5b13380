"""How often something may be done."""

from entitlements.domain.token_bucket import Rate, TokenBucket
from tests.fakes import FakeClock


def test_so_much_at_once_and_then_at_the_rate() -> None:
    clock = FakeClock()
    bucket = TokenBucket(Rate(burst=2, per_second=4), clock.monotonic)

    at_once = [bucket.try_take() for _ in range(3)]
    clock.advance(0.25)
    later = [bucket.try_take() for _ in range(2)]

    assert at_once == [True, True, False]
    assert later == [True, False]


def test_a_long_pause_saves_no_more_than_the_burst() -> None:
    clock = FakeClock()
    bucket = TokenBucket(Rate(burst=2, per_second=4), clock.monotonic)

    clock.advance(3600)

    assert [bucket.try_take() for _ in range(3)] == [True, True, False]
