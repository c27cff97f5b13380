"""What h2spec reports is read case by case."""

from tests.chaos.h2spec import cases_of, ours

REPORT = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites><testsuite name="3.5. Preface" package="http2/3.5" tests="2" failures="1" errors="0">
<testcase package="http2/3.5" classname="Sends client connection preface" time="0.1"></testcase>
<testcase package="http2/3.5" classname="Sends invalid connection preface" time="0.1">
<failure>GOAWAY</failure></testcase></testsuite>
<testsuite name="5.1. States" package="http2/5.1" tests="1" failures="0" errors="1">
<testcase package="http2/5.1" classname="idle: Sends a DATA frame" time="0"><error>EOF</error></testcase>
</testsuite></testsuites>"""


def test_cases_are_counted_and_named() -> None:
    """One that failed, one that could not be tried."""
    tried, failed = cases_of(REPORT)

    assert 3 == tried
    assert {"http2/3.5: Sends invalid connection preface", "http2/5.1: idle: Sends a DATA frame"} == failed


def test_what_a_bare_server_fails_is_not_ours() -> None:
    assert ["b"] == ours(frozenset({"a", "b"}), frozenset({"a", "c"}))
