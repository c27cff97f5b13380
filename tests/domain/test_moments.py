"""Instants: milliseconds, calendar, ISO 8601."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.domain.moments import (
    EARLIEST_MS,
    LATEST_MS,
    iso_from_ms,
    moment_from_ms,
    ms_from_iso,
    ms_from_moment,
)

MOMENTS_MS = st.integers(EARLIEST_MS, LATEST_MS)


@given(MOMENTS_MS)
def test_every_moment_survives_the_calendar(epoch_ms: int) -> None:
    assert epoch_ms == ms_from_moment(moment_from_ms(epoch_ms))


@given(MOMENTS_MS)
def test_every_moment_survives_iso_8601(epoch_ms: int) -> None:
    assert epoch_ms == ms_from_iso(iso_from_ms(epoch_ms))


@pytest.mark.parametrize("epoch_ms", [EARLIEST_MS - 1, LATEST_MS + 1])
def test_beyond_the_calendar_there_is_no_moment(epoch_ms: int) -> None:
    with pytest.raises(OverflowError):
        moment_from_ms(epoch_ms)


def test_a_moment_is_written_as_the_cloud_writes_it() -> None:
    assert "2026-03-01T12:00:00.250Z" == iso_from_ms(1_772_366_400_250)


@pytest.mark.parametrize(
    ("text", "epoch_ms"),
    [
        ("1970-01-01T00:00:01Z", 1_000),
        ("1970-01-01T01:00:01+01:00", 1_000),
        ("1970-01-01T00:00:01", 1_000),
        ("1970-01-01", 0),
        ("yesterday", None),
        ("0001-01-01T00:00:00+23:59", EARLIEST_MS - 23 * 3_600_000 - 59 * 60_000),
    ],
)
def test_a_text_without_a_zone_is_utc(text: str, epoch_ms: int | None) -> None:
    assert epoch_ms == ms_from_iso(text)
