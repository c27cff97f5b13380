"""Each value is taken if it is what it should be, else it is absent."""

import logging
import math

import pytest

from entitlements.upstream import json_values
from entitlements.upstream.json_values import child, flag, moment_ms, number, skipped, text


@pytest.mark.parametrize(
    ("value", "expected"), [("a", "a"), ("", ""), (1, None), (None, None), (["a"], None)]
)
def test_text(value: object, expected: str | None) -> None:
    assert expected == text(value)


@pytest.mark.parametrize(("value", "expected"), [(True, True), (False, False), (1, None), ("true", None)])
def test_flag(value: object, expected: bool | None) -> None:
    assert expected is flag(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 1.0), (1.5, 1.5), (True, None), ("1", None), (math.nan, None), (math.inf, None), (10**400, None)],
)
def test_number(value: object, expected: float | None) -> None:
    """No NaN, no infinity, no integer that no double holds, no boolean in a number's place."""
    assert expected == number(value)


@pytest.mark.parametrize(
    ("value", "expected"), [({"a": 1}, {"a": 1}), ([], None), ("{}", None), (None, None)]
)
def test_child(value: object, expected: object) -> None:
    assert expected == child(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1970-01-01T00:00:01.500Z", 1500),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01", 0),
        (1500, 1500),
        (-1, -1),
        (None, None),
        ("yesterday", None),
        ("", None),
        (True, None),
        (1e300, None),
        ("0001-01-01T00:00:00+23:59", None),
        ("9999-12-31T23:59:59-23:59", None),
    ],
)
def test_moment(value: object, expected: int | None) -> None:
    """ISO 8601 with or without an offset (UTC then), or a number; only what a calendar holds."""
    assert expected == moment_ms(value)


def test_what_is_skipped_is_reported_once_of_each_kind(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_values, "_logged", set())
    with caplog.at_level(logging.WARNING):
        skipped("date", "x" * 100)
        skipped("date", "again")
        skipped("reason", "New")

    assert [f"date {'x' * 40}", "reason New"] == [
        record.getMessage().partition("skipped: ")[2] for record in caplog.records
    ]
