"""The samples behind the charts."""

from entitlements import metrics
from entitlements.admin.history import MAX_POINTS, MAX_SAMPLES, History, Point
from tests.fakes import FakeClock


def test_points_are_what_happened_a_second() -> None:
    clock = FakeClock()
    history = History(clock=clock)
    history.sample()
    metrics.GRPC_REQUESTS.labels("GetEntitlement", "OK").inc(20)
    metrics.FALLBACKS.labels("outage", "other").inc(5)
    clock.advance(10)
    history.sample()

    (point,) = history.points()
    assert Point(clock.now_ms(), 2.0, 0.5) == point
    span = history.since(300)
    assert span is not None
    assert 20 == span[1].requests - span[0].requests


def test_an_hour_is_kept_and_a_chart_stays_small() -> None:
    clock = FakeClock()
    history = History(clock=clock)
    assert history.points() == []
    assert history.since(300) is None
    for _ in range(MAX_SAMPLES + 10):
        history.sample()
        clock.advance(10)

    points = history.points()
    assert MAX_POINTS - 1 == len(points)
    assert 60_000 == points[1].at_ms - points[0].at_ms
