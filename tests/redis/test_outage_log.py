"""When something that persists is said."""

import logging

import pytest

from entitlements.rate_limited_log import INTERVAL_SECONDS
from entitlements.redis.outage_log import OutageLog

logger = logging.getLogger("test")


class Stopwatch:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def stopwatch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def outage(stopwatch: Stopwatch) -> OutageLog:
    return OutageLog(logger, down="it is down", up="it is up", monotonic=stopwatch)


def test_each_change_of_state_is_said_once(outage: OutageLog, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        outage.failed("Cause", is_down=False)
        outage.failed("Cause", is_down=True)
        outage.failed("Cause", is_down=True)
        outage.succeeded()
        outage.succeeded()

    assert [message.split(" cause")[0] for message in caplog.messages] == [
        "it is down",
        "it is up",
        "it is down",
        "it is up",
    ]


def test_an_outage_that_lasts_is_said_once_a_minute(
    outage: OutageLog, stopwatch: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    outage.failed("Cause", is_down=True)
    outage.failed("Cause", is_down=True)
    stopwatch.seconds += INTERVAL_SECONDS
    outage.failed("Cause", is_down=True)

    reported = [(record.getMessage(), record.__dict__["untold"]) for record in caplog.records]
    assert [("it is down cause=Cause", 0), ("it is down cause=Cause", 1)] == reported


def test_a_single_failure_is_no_outage(outage: OutageLog, caplog: pytest.LogCaptureFixture) -> None:
    outage.failed("Cause", is_down=False)
    outage.succeeded()

    assert caplog.messages == []
