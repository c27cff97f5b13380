"""Dates as the cloud writes them, and the usage period that contains a moment: UTC, to the millisecond."""

import calendar
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
_MONTHS_A_YEAR = 12
_FIXED_LENGTHS_MS = {"HOUR": 3_600_000, "DAY": 86_400_000, "WEEK": 604_800_000}
_MONTHS_A_PERIOD = {"MONTH": 1, "YEAR": _MONTHS_A_YEAR}

Clock = Callable[[], int]
"""Tells now in epoch milliseconds."""


def system_now_ms() -> int:
    """Tell the machine's time in epoch milliseconds: the emulator's default clock."""
    return time.time_ns() // 1_000_000


def to_iso(epoch_ms: int) -> str:
    """Write a moment as the cloud does: ISO 8601 with milliseconds and a Z."""
    moment = EPOCH + epoch_ms * MILLISECOND
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_ms(date: Any) -> int | None:
    """Read a date in either of the forms in use, ISO 8601 or epoch milliseconds; None when it is neither."""
    if isinstance(date, bool):
        return None
    if isinstance(date, int | float):
        return int(date)
    if not isinstance(date, str):
        return None
    try:
        moment = datetime.fromisoformat(date)
    except ValueError:
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // MILLISECOND


def period_containing(now_ms: int, *, anchor_ms: int, reset_period: str) -> tuple[int, int] | None:
    """Find the period, counted from the anchor, that contains now: start (inclusive) and end (exclusive).

    Months and years are added to the anchor itself and clamped to the month's last day
    (contract/evaluation.md, section 1). An unknown reset period has none.
    """
    length_ms = _FIXED_LENGTHS_MS.get(reset_period)
    if length_ms is not None:
        start_ms = now_ms - (now_ms - anchor_ms) % length_ms
        return start_ms, start_ms + length_ms
    months = _MONTHS_A_PERIOD.get(reset_period)
    if months is None:
        return None
    now, anchor = (EPOCH + moment * MILLISECOND for moment in (now_ms, anchor_ms))
    number = ((now.year - anchor.year) * _MONTHS_A_YEAR + now.month - anchor.month) // months
    if add_months(anchor, number * months) > now:
        number -= 1
    start, end = add_months(anchor, number * months), add_months(anchor, (number + 1) * months)
    return (start - EPOCH) // MILLISECOND, (end - EPOCH) // MILLISECOND


def add_months(moment: datetime, months: int) -> datetime:
    """Add calendar months, clamped to the last day of the month arrived at."""
    year, month_index = divmod(moment.year * _MONTHS_A_YEAR + moment.month - 1 + months, _MONTHS_A_YEAR)
    last_day = calendar.monthrange(year, month_index + 1)[1]
    return moment.replace(year=year, month=month_index + 1, day=min(moment.day, last_day))
