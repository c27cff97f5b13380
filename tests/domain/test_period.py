"""Which usage period contains now, against examples and a slow reference that walks period by period."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.domain.entitlement import ResetPeriod
from entitlements.domain.moments import EPOCH as DOMAINS_EPOCH
from entitlements.domain.period import Period, period_containing

EPOCH = datetime.fromtimestamp(0, tz=UTC)
MILLISECOND = timedelta(milliseconds=1)
HOUR_MS = 3_600_000
LONGEST_MS = {
    ResetPeriod.HOUR: HOUR_MS,
    ResetPeriod.DAY: 24 * HOUR_MS,
    ResetPeriod.WEEK: 7 * 24 * HOUR_MS,
    ResetPeriod.MONTH: 31 * 24 * HOUR_MS,
    ResetPeriod.YEAR: 366 * 24 * HOUR_MS,
}
FIXED = {
    ResetPeriod.HOUR: timedelta(hours=1),
    ResetPeriod.DAY: timedelta(days=1),
    ResetPeriod.WEEK: timedelta(days=7),
}

reset_periods = st.sampled_from(ResetPeriod)
anchors = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(  # noqa: DTZ001 - hypothesis wants naive bounds
    lambda moment: (moment.replace(tzinfo=UTC) - EPOCH) // MILLISECOND
)


@st.composite
def _moments_near_an_anchor(draw: st.DrawFn) -> tuple[int, int, ResetPeriod]:
    """An anchor, a moment at most fifty periods away and often on a boundary, and a reset period."""
    anchor_ms, reset_period = draw(anchors), draw(reset_periods)
    periods = draw(st.integers(-50, 50))
    if draw(st.booleans()):
        return anchor_ms, _boundary(anchor_ms, reset_period, periods) + draw(st.integers(-1, 1)), reset_period
    offset = draw(st.floats(0, 1)) + periods
    return anchor_ms, anchor_ms + round(offset * LONGEST_MS[reset_period]), reset_period


def _boundary(anchor_ms: int, reset_period: ResetPeriod, number: int) -> int:
    """Where the nth period begins, counted month by month on the fingers."""
    anchor = EPOCH + timedelta(milliseconds=anchor_ms)
    if reset_period in FIXED:
        return (anchor + number * FIXED[reset_period] - EPOCH) // MILLISECOND
    year, month = anchor.year, anchor.month
    for _ in range(abs(number) * (12 if reset_period is ResetPeriod.YEAR else 1)):
        month += 1 if number > 0 else -1
        if month == 13:
            year, month = year + 1, 1
        if month == 0:
            year, month = year - 1, 12
    for day in range(anchor.day, 27, -1):
        try:
            return (anchor.replace(year=year, month=month, day=day) - EPOCH) // MILLISECOND
        except ValueError:  # the month has no such day
            continue
    return (anchor.replace(year=year, month=month) - EPOCH) // MILLISECOND


def _walk(now_ms: int, anchor_ms: int, reset_period: ResetPeriod) -> Period:
    """The period that contains now, found by walking there from the anchor."""
    number = 0
    while _boundary(anchor_ms, reset_period, number) > now_ms:
        number -= 1
    while _boundary(anchor_ms, reset_period, number + 1) <= now_ms:
        number += 1
    return Period(_boundary(anchor_ms, reset_period, number), _boundary(anchor_ms, reset_period, number + 1))


def _ms(text: str) -> int:
    """The epoch milliseconds of an ISO date and time in UTC."""
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // MILLISECOND


def test_epoch_is_the_computers() -> None:
    """Milliseconds count from 1970, as everywhere on the wire."""
    assert EPOCH == DOMAINS_EPOCH


@pytest.mark.parametrize(
    ("reset_period", "anchor", "now", "start", "end"),
    [
        (
            ResetPeriod.HOUR,
            "2026-01-01T00:30",
            "2026-06-01T12:29:59.999",
            "2026-06-01T11:30",
            "2026-06-01T12:30",
        ),
        (ResetPeriod.DAY, "2026-01-01T06:00", "2026-03-29T06:00", "2026-03-29T06:00", "2026-03-30T06:00"),
        (ResetPeriod.WEEK, "2026-01-05", "2026-06-03", "2026-06-01", "2026-06-08"),
        (ResetPeriod.MONTH, "2026-01-15", "2026-06-14T23:59", "2026-05-15", "2026-06-15"),
        (ResetPeriod.YEAR, "2020-07-01", "2026-06-01", "2025-07-01", "2026-07-01"),
    ],
)
def test_each_reset_period_is_counted_from_its_anchor(
    reset_period: ResetPeriod, anchor: str, now: str, start: str, end: str
) -> None:
    """Start and end are the anchor plus whole periods."""
    period = period_containing(_ms(now), anchor_ms=_ms(anchor), reset_period=reset_period)

    assert Period(_ms(start), _ms(end)) == period


@pytest.mark.parametrize(
    ("reset_period", "anchor", "now", "start", "end"),
    [
        (ResetPeriod.MONTH, "2026-01-31", "2026-02-28", "2026-02-28", "2026-03-31"),
        (ResetPeriod.MONTH, "2024-01-31", "2024-02-28", "2024-01-31", "2024-02-29"),
        (ResetPeriod.MONTH, "2024-01-31", "2024-03-31", "2024-03-31", "2024-04-30"),
        (ResetPeriod.MONTH, "2026-01-31T12:00", "2026-02-28T11:00", "2026-01-31T12:00", "2026-02-28T12:00"),
        (ResetPeriod.MONTH, "2026-12-31", "2027-01-01", "2026-12-31", "2027-01-31"),
        (ResetPeriod.YEAR, "2024-02-29", "2025-03-01", "2025-02-28", "2026-02-28"),
        (ResetPeriod.YEAR, "2024-02-29", "2028-02-29", "2028-02-29", "2029-02-28"),
    ],
)
def test_months_and_years_clamp_to_the_last_day(
    reset_period: ResetPeriod, anchor: str, now: str, start: str, end: str
) -> None:
    """A period is added to the anchor itself, so that January 31 comes back in March."""
    period = period_containing(_ms(now), anchor_ms=_ms(anchor), reset_period=reset_period)

    assert Period(_ms(start), _ms(end)) == period


@pytest.mark.parametrize(
    ("reset_period", "anchor", "now", "start", "end"),
    [
        (ResetPeriod.MONTH, "2026-02-28T12:00", "2026-03-30T08:00", "2026-03-28T12:00", "2026-04-28T12:00"),
        (ResetPeriod.MONTH, "2025-11-30T12:00", "2026-01-31T08:00", "2026-01-30T12:00", "2026-02-28T12:00"),
        (ResetPeriod.YEAR, "2023-02-28T12:00", "2024-02-29T08:00", "2024-02-28T12:00", "2025-02-28T12:00"),
    ],
)
def test_better_usage_periods_near_a_months_end(
    reset_period: ResetPeriod, anchor: str, now: str, start: str, end: str
) -> None:
    """The morning after a month's shorter end is in the period that holds it, not in the one before."""
    period = period_containing(_ms(now), anchor_ms=_ms(anchor), reset_period=reset_period)

    assert Period(_ms(start), _ms(end)) == period


@pytest.mark.parametrize("now", ["2026-03-29T01:00", "2026-10-25T01:00"])
def test_better_usage_periods_are_in_utc(now: str) -> None:
    """A day has 24 hours, also where summer time begins or ends in the zone that a process is set to."""
    period = period_containing(_ms(now), anchor_ms=_ms("2026-01-01"), reset_period=ResetPeriod.DAY)

    assert Period(_ms(now) - HOUR_MS, _ms(now) + 23 * HOUR_MS) == period


def test_anchor_in_the_future_counts_backwards() -> None:
    """Periods before the anchor are as long as those after it."""
    period = period_containing(
        _ms("2026-02-28T00:00"), anchor_ms=_ms("2026-05-31"), reset_period=ResetPeriod.MONTH
    )

    assert Period(_ms("2026-02-28"), _ms("2026-03-31")) == period


@pytest.mark.parametrize(
    ("now_ms", "anchor_ms"),
    [
        (_ms("9999-12-31T23:00"), _ms("2026-01-01")),
        (_ms("0001-01-01T01:00"), _ms("2026-01-31")),
        (10**18, _ms("2026-01-01")),
        (_ms("2026-01-01"), -(10**18)),
    ],
)
def test_period_outside_the_calendar_is_none(now_ms: int, anchor_ms: int) -> None:
    """A period that begins or ends outside the years 1 to 9999 cannot be named."""
    assert period_containing(now_ms, anchor_ms=anchor_ms, reset_period=ResetPeriod.MONTH) is None


@given(_moments_near_an_anchor())
def test_period_is_the_one_found_by_walking(case: tuple[int, int, ResetPeriod]) -> None:
    """The arithmetic agrees with counting periods one by one."""
    anchor_ms, now_ms, reset_period = case

    period = period_containing(now_ms, anchor_ms=anchor_ms, reset_period=reset_period)

    assert _walk(now_ms, anchor_ms, reset_period) == period


@given(_moments_near_an_anchor())
def test_period_contains_now(case: tuple[int, int, ResetPeriod]) -> None:
    """Now is not before the start and before the end."""
    anchor_ms, now_ms, reset_period = case

    period = period_containing(now_ms, anchor_ms=anchor_ms, reset_period=reset_period)

    assert period is not None
    assert period.start_ms <= now_ms < period.end_ms


@given(_moments_near_an_anchor())
def test_consecutive_periods_tile(case: tuple[int, int, ResetPeriod]) -> None:
    """Where one period ends the next begins, and all of a period's moments are in the same one."""
    anchor_ms, now_ms, reset_period = case
    period = period_containing(now_ms, anchor_ms=anchor_ms, reset_period=reset_period)
    assert period is not None

    following = period_containing(period.end_ms, anchor_ms=anchor_ms, reset_period=reset_period)
    first = period_containing(period.start_ms, anchor_ms=anchor_ms, reset_period=reset_period)
    last = period_containing(period.end_ms - 1, anchor_ms=anchor_ms, reset_period=reset_period)

    assert following is not None
    assert period.end_ms == following.start_ms
    assert period == first
    assert period == last


@given(_moments_near_an_anchor())
def test_calendar_periods_begin_on_the_anchors_day_or_the_months_last(
    case: tuple[int, int, ResetPeriod],
) -> None:
    """A start is on the anchor's day and time, or on the last day of a month that has no such day."""
    anchor_ms, now_ms, _ = case
    anchor = EPOCH + anchor_ms * MILLISECOND

    period = period_containing(now_ms, anchor_ms=anchor_ms, reset_period=ResetPeriod.MONTH)

    assert period is not None
    start = EPOCH + period.start_ms * MILLISECOND
    is_last_of_its_month = (start + timedelta(days=1)).month != start.month
    assert start.day == anchor.day or (is_last_of_its_month and start.day < anchor.day)
    assert anchor.timetz() == start.timetz()
