"""Ids of a request and a trace: bounded, printable, and only what the standard calls an id."""

import pytest

from entitlements.correlation import MAX_REQUEST_ID_LENGTH, Correlation, correlation_of

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_what_the_caller_names_is_read() -> None:
    metadata = (
        ("user-agent", "x"),
        ("x-request-id", "r-1"),
        ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"),
    )

    assert Correlation("r-1", TRACE_ID, SPAN_ID) == correlation_of(metadata)


def test_nothing_is_known_of_a_call_that_says_nothing() -> None:
    assert Correlation() == correlation_of(())


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        ("a\nb\u2028c\x1b[31m", "a?b?c?[31m"),
        (b"\xff\x00r", "??r"),
        ("x" * (MAX_REQUEST_ID_LENGTH + 1), "x" * MAX_REQUEST_ID_LENGTH),
        ("", None),
    ],
)
def test_a_request_id_is_bounded_and_printable(sent: str | bytes, known: str | None) -> None:
    assert known == correlation_of([("x-request-id", sent)]).request_id


@pytest.mark.parametrize(
    "sent",
    [
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID}-{SPAN_ID}-01\n",
        "junk",
    ],
)
def test_what_is_no_trace_is_left_out(sent: str) -> None:
    """https://www.w3.org/TR/trace-context/, traceparent Header."""
    assert Correlation() == correlation_of([("traceparent", sent)])


def test_a_later_version_of_the_header_is_read() -> None:
    """It may say more after the flags."""
    found = correlation_of([("traceparent", f"cc-{TRACE_ID}-{SPAN_ID}-01-what-comes-later")])

    assert TRACE_ID == found.trace_id
    assert SPAN_ID == found.span_id
