"""An outage of a way to the cloud: logged when it begins, once a minute while it lasts, and when it ends."""

import logging

import pytest

from entitlements.domain.breaker import BreakerState
from entitlements.domain.errors import Rejected, Unreachable
from entitlements.domain.ports import Source
from entitlements.service.outages import Outages
from tests.fakes import FakeClock

CLOSED, OPEN = BreakerState.CLOSED, BreakerState.OPEN


def test_an_outage_is_reported_from_begin_to_end(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    outages = Outages(clock.monotonic)

    with caplog.at_level(logging.WARNING):
        outages.failed(Source.EDGE, Unreachable("edge"), was=CLOSED, now=CLOSED)
        outages.failed(Source.EDGE, Unreachable("edge"), was=CLOSED, now=OPEN)
        for _ in range(4):
            clock.advance(20)
            outages.failed(Source.EDGE, Unreachable("edge"), was=OPEN, now=OPEN)
        outages.answered(Source.EDGE, was=OPEN)
        outages.answered(Source.EDGE, was=CLOSED)
        outages.failed(Source.EDGE, Unreachable("edge"), was=CLOSED, now=OPEN)

    down = "circuit breaker opened source=edge: the Stigg edge could not be reached"
    reported = [(each.getMessage(), each.__dict__.get("untold")) for each in caplog.records]
    assert [(down, 0), (down, 2), ("circuit breaker closed source=edge", None), (down, 0)] == reported


def test_how_a_source_failed_last() -> None:
    """A no of the cloud is an answer."""
    outages = Outages(FakeClock().monotonic)
    outages.failed(Source.EDGE, Unreachable("edge"), was=CLOSED, now=CLOSED)
    outages.failed(Source.API, Unreachable("api"), was=CLOSED, now=CLOSED)

    outages.failed(Source.API, Rejected("api"), was=CLOSED, now=CLOSED)
    both = dict(outages.causes)
    outages.answered(Source.EDGE, was=CLOSED)

    assert {Source.EDGE: "unreachable"} == both
    assert {} == outages.causes
