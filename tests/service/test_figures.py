"""Figures and ids as people read them."""

import pytest

from entitlements.domain.moments import LATEST_MS
from entitlements.service.figures import (
    amount,
    date_from_ms,
    duration_from_ms,
    listed,
    quoted,
    size_from_bytes,
)

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "less than 1 s"),
        (1_500, "1 s"),
        (61_000, "1 min 1 s"),
        (3 * HOUR_MS + 1_000, "3 h"),
        (49 * HOUR_MS, "2 d 1 h"),
    ],
)
def test_a_duration_has_at_most_two_units(ms: int, text: str) -> None:
    assert text == duration_from_ms(ms)


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(12, "12 B"), (1500, "1.5 kB"), (2e9, "2.0 GB"), (4e12, "4000.0 GB")]
)
def test_a_size_has_the_largest_unit_that_fits(size_bytes: float, text: str) -> None:
    assert text == size_from_bytes(size_bytes)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1e6, "1,000,000"),
        (0.1 + 0.2, "0.3"),
        (-2.0, "-2"),
        (1234.25, "1,234.25"),
        (123456789.5, "123,456,789.5"),
    ],
)
def test_an_amount_has_a_fraction_only_where_there_is_one(number: float, text: str) -> None:
    assert text == amount(number)


@pytest.mark.parametrize(
    ("text", "shown"), [("ü", '"ü"'), ("\x1b[31m", '"\\u001b[31m"'), ("\x9b", '"\\u009b"')]
)
def test_what_a_terminal_would_obey_is_spelled_out(text: str, shown: str) -> None:
    assert shown == quoted(text)


def test_no_values_are_called_none() -> None:
    assert "none" == listed([])


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01 00:00 UTC"),
        (LATEST_MS, "9999-12-31 23:59 UTC"),
        (LATEST_MS + 1, f"{LATEST_MS + 1} ms"),
    ],
)
def test_a_date_that_no_calendar_holds_stays_a_number(ms: int, text: str) -> None:
    assert text == date_from_ms(ms)
