"""What a status, a body or an exception means."""

import time
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.domain.errors import (
    Forbidden,
    Garbled,
    KeyRefused,
    Rejected,
    Throttled,
    Unreachable,
    UpstreamError,
)
from entitlements.upstream.errors import (
    MAX_MESSAGE_CHARACTERS,
    error_of_errors,
    error_of_exception,
    error_of_status,
    retry_after_seconds,
)
from tests.builders import NOW_MS
from tests.upstream.test_feed_protocol import JSON


def described(error: UpstreamError | None) -> tuple[object, str] | None:
    return None if error is None else (type(error), str(error))


@pytest.mark.parametrize(
    ("exception", "expected"),
    [
        (aiohttp.ConnectionTimeoutError("secret"), (Unreachable, "the Stigg api did not answer in time")),
        (TimeoutError(), (Unreachable, "the Stigg api did not answer in time")),
        (aiohttp.ClientOSError("secret"), (Unreachable, "the Stigg api could not be reached")),
        (aiohttp.ClientPayloadError("secret"), (Unreachable, "the Stigg api could not be reached")),
        (OSError("secret"), (Unreachable, "the Stigg api could not be reached")),
    ],
)
def test_an_exception_is_translated_without_its_text(exception: Exception, expected: object) -> None:
    assert expected == described(error_of_exception("api", exception))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, None),
        (400, None),
        (401, KeyRefused),
        (403, Forbidden),
        (429, Throttled),
        (500, Garbled),
        (503, Garbled),
    ],
)
def test_a_status_means_what_the_contract_says(status: int, expected: type | None) -> None:
    error = error_of_status("edge", status, {}, now_ms=NOW_MS)

    assert expected is (None if error is None else type(error))


def test_a_throttled_answer_says_for_how_long() -> None:
    headers = {"Retry-After": "7"}

    assert str(error_of_status("edge", 429, headers, now_ms=NOW_MS)) == (
        "the Stigg edge limits the rate of requests; retry after 7 s"
    )


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("12", 12.0),
        ("-5", 0.0),
        ("Sun, 15 Jun 2025 15:07:00 GMT", 20.0),
        ("Sun, 15 Jun 2025 15:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("9" * 5000, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str, seconds: float | None) -> None:
    assert seconds == retry_after_seconds(header, now_ms=NOW_MS)


@pytest.mark.parametrize("errors", [None, [], "x", {}, 5])
def test_no_errors_are_no_error(errors: object) -> None:
    assert error_of_errors("api", errors) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"extensions": {"code": "Unauthenticated"}}, KeyRefused),
        ({"extensions": {"code": "IdentityForbidden"}}, KeyRefused),
        ({"extensions": {"code": "AccessDeniedError"}}, KeyRefused),
        ({"extensions": {"code": "RateLimitExceeded"}}, Throttled),
        ({"message": "ThrottlerException: Too Many Requests"}, Throttled),
        ({"extensions": {"code": "CustomerNotFound"}}, Rejected),
        ({"extensions": None, "message": 5}, Rejected),
        ("not even an object", Rejected),
    ],
)
def test_an_error_of_graphql_means_what_its_code_says(error: object, expected: type) -> None:
    assert expected is type(error_of_errors("api", [error]))


def test_a_rejection_carries_code_message_and_trace() -> None:
    error = error_of_errors(
        "api",
        [{"message": "No such feature", "extensions": {"code": "FeatureNotFound", "traceId": "t-1"}}],
    )

    assert isinstance(error, Rejected)
    assert "FeatureNotFound" == error.code
    assert "t-1" == error.trace_id
    assert str(error) == "the Stigg api rejected the request: No such feature (trace id t-1)"


def test_a_long_message_is_cut() -> None:
    error = error_of_errors("api", [{"message": "x" * 10_000}])

    assert isinstance(error, Rejected)
    assert len(error.message) == MAX_MESSAGE_CHARACTERS


@pytest.mark.parametrize("header", ["9" * 400, "9" * 5000, "Sun, 15 Jun 99999999 00:00:00 GMT"])
def test_a_wait_beyond_all_bounds_is_none(header: str) -> None:
    """Four hundred digits raised OverflowError past the callers, who are promised domain errors only."""
    assert retry_after_seconds(header, now_ms=NOW_MS) is None


def test_a_date_without_a_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was read in the zone of the machine, and the wait was hours too long, or none."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert retry_after_seconds("Sun, 15 Jun 2025 15:07:00 -0000", now_ms=NOW_MS) == 20.0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ [-+A-Z0-9]{0,6}"))
def test_no_retry_after_raises(header: str) -> None:
    """It is a wait, or it is none."""
    found = retry_after_seconds(header, now_ms=NOW_MS)

    assert found is None or found >= 0


@given(JSON)
def test_no_errors_of_an_answer_raise(error: Any) -> None:
    """Any JSON value in place of an error, and of its parts."""
    for errors in ([error], [{"message": error, "extensions": error}], [{"extensions": {"code": error}}]):
        assert error_of_errors("api", errors) is not None
