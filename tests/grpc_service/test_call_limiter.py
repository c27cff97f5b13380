"""What is taken in at a time, and what is refused unseen: counted, told, shown."""

import logging

import pytest

from entitlements import metrics
from grpc_service.call_limiter import TOO_MANY, UNREADABLE, CallLimiter
from grpc_service.methods import Refused


def test_one_call_too_many_is_refused_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """There is room again once a call has ended."""
    call_limiter = CallLimiter(max_calls=1, monotonic=lambda: 0.0)
    before = metrics.GRPC_REFUSED.labels(TOO_MANY)._value.get()

    with caplog.at_level(logging.WARNING), call_limiter.taken():
        for _ in range(2):
            with pytest.raises(Refused, match="RESOURCE_EXHAUSTED: too many calls"), call_limiter.taken():
                pass
        full = call_limiter.state()
    with call_limiter.taken():
        pass
    empty = call_limiter.state()

    assert before + 2 == metrics.GRPC_REFUSED.labels(TOO_MANY)._value.get()
    assert ["rejecting calls cause=too_many_calls"] == [each.getMessage() for each in caplog.records]
    assert (TOO_MANY, 1, {UNREADABLE: 0, TOO_MANY: 2}) == (
        full.problem,
        full.details["calls_under_way"],
        full.details["refused"],
    )
    assert (None, 0) == (empty.problem, empty.details["calls_under_way"])
    assert full.meaning != empty.meaning


def test_what_cannot_be_read_is_counted() -> None:
    call_limiter = CallLimiter(max_calls=1, monotonic=lambda: 0.0)

    call_limiter.refuse(UNREADABLE)

    assert {UNREADABLE: 1, TOO_MANY: 0} == call_limiter.state().details["refused"]
