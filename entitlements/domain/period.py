"""Which usage period contains now: exact calendar arithmetic in UTC (contract/evaluation.md, section 1)."""

import calendar
from datetime import datetime, timedelta
from typing import NamedTuple

from entitlements.domain.entitlement import ResetPeriod
from entitlements.domain.moments import MILLISECOND, moment_from_ms, ms_from_moment

_MONTHS_A_YEAR = 12
_FIXED_LENGTHS_MS = {
    ResetPeriod.HOUR: timedelta(hours=1) // MILLISECOND,
    ResetPeriod.DAY: timedelta(days=1) // MILLISECOND,
    ResetPeriod.WEEK: timedelta(weeks=1) // MILLISECOND,
}


class Period(NamedTuple):
    """From `start_ms` (inclusive) to `end_ms` (exclusive), epoch milliseconds."""

    start_ms: int
    end_ms: int


def period_containing(now_ms: int, *, anchor_ms: int, reset_period: ResetPeriod) -> Period | None:
    """The period counted from the anchor that contains now, or None when it leaves the calendar."""
    length_ms = _FIXED_LENGTHS_MS.get(reset_period)
    if length_ms is not None:
        start_ms = now_ms - (now_ms - anchor_ms) % length_ms
        return Period(start_ms, start_ms + length_ms)
    step = _MONTHS_A_YEAR if reset_period is ResetPeriod.YEAR else 1
    try:
        return _calendar_period(
            moment_from_ms(now_ms), anchor=moment_from_ms(anchor_ms), months_a_period=step
        )
    except (OverflowError, ValueError):
        return None


def _calendar_period(now: datetime, *, anchor: datetime, months_a_period: int) -> Period:
    months = (now.year - anchor.year) * _MONTHS_A_YEAR + now.month - anchor.month
    number = months // months_a_period
    # The next period begins in a later month than now's, so only the day and the time can be too late.
    if _add_months(anchor, number * months_a_period) > now:
        number -= 1
    return Period(
        ms_from_moment(_add_months(anchor, number * months_a_period)),
        ms_from_moment(_add_months(anchor, (number + 1) * months_a_period)),
    )


def _add_months(anchor: datetime, months: int) -> datetime:
    year, month_index = divmod(anchor.year * _MONTHS_A_YEAR + anchor.month - 1 + months, _MONTHS_A_YEAR)
    last_day = calendar.monthrange(year, month_index + 1)[1]
    return anchor.replace(year=year, month=month_index + 1, day=min(anchor.day, last_day))
