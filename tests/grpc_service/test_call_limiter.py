"""What may wait at a time, and what is refused or answered unseen: counted, logged, shown."""

import logging
from contextlib import ExitStack

import pytest

from entitlements import metrics
from grpc_service.call_limiter import STALLED_SHOWN_SECONDS, TOO_MANY_READS, CallLimiter
from grpc_service.causes import STALLED, TOO_MANY, TOO_MANY_STREAMS, UNREADABLE
from grpc_service.methods import Refused


def test_one_write_too_many_is_refused_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """There is room again once a call has ended; reads have their own."""
    call_limiter = CallLimiter(max_calls=1, monotonic=lambda: 0.0)
    before = metrics.GRPC_REFUSED.labels(TOO_MANY)._value.get()

    with caplog.at_level(logging.WARNING), call_limiter.write(1, "a"):
        for _ in range(2):
            with (
                pytest.raises(Refused, match="RESOURCE_EXHAUSTED: too many calls"),
                call_limiter.write(1, "a"),
            ):
                pass
        full = call_limiter.state()
        assert call_limiter.has_room_for_read(1, "a")
    with call_limiter.write(1, "a"):
        pass
    empty = call_limiter.state()

    assert before + 2 == metrics.GRPC_REFUSED.labels(TOO_MANY)._value.get()
    assert ["rejecting calls cause=too_many_calls"] == [each.getMessage() for each in caplog.records]
    assert TOO_MANY == full.problem
    assert 1 == full.details["writes_waiting"]
    assert {UNREADABLE: 0, TOO_MANY: 2, STALLED: 0, TOO_MANY_STREAMS: 0} == full.details["refused"]
    assert empty.problem is None
    assert 0 == empty.details["calls_under_way"]
    assert full.meaning != empty.meaning


def test_one_read_too_many_is_counted_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    """It is not refused: whoever asks answers it by its fallback. Writes have their own room."""
    call_limiter = CallLimiter(max_calls=1, monotonic=lambda: 0.0)

    with caplog.at_level(logging.WARNING), call_limiter.reads.entered(1, "a"):
        rooms = [call_limiter.has_room_for_read(1, "a") for _ in range(2)]
        full = call_limiter.state()
        with call_limiter.write(1, "a"):
            pass

    assert [False, False] == rooms
    assert TOO_MANY_READS == full.problem
    assert 1 == full.details["reads_waiting"]
    assert 2 == full.details["answered_unasked"]
    assert ["answering reads by their fallback at once cause=too_many_reads"] == [
        each.getMessage() for each in caplog.records
    ]
    assert call_limiter.state().problem is None


@pytest.mark.parametrize(("size_bytes", "has_room"), [(6, True), (8, False)])
def test_what_waits_is_bounded_by_bytes_too(size_bytes: int, has_room: bool) -> None:
    call_limiter = CallLimiter(max_calls=10, monotonic=lambda: 0.0, max_bytes=10)

    with call_limiter.reads.entered(4, "a"):
        assert has_room is call_limiter.has_room_for_read(size_bytes, "a")

    assert call_limiter.has_room_for_read(11, "a")  # alone, however large


def test_what_cannot_be_read_is_counted() -> None:
    call_limiter = CallLimiter(max_calls=1, monotonic=lambda: 0.0)

    call_limiter.refuse(UNREADABLE)

    assert {UNREADABLE: 1, TOO_MANY: 0, STALLED: 0, TOO_MANY_STREAMS: 0} == call_limiter.state().details[
        "refused"
    ]


def test_refusals_keep_nothing_of_the_refused() -> None:
    """Each refusal is an exception of its own: a shared one keeps the frames, and the requests in them."""
    call_limiter = CallLimiter(max_calls=1, monotonic=lambda: 0.0)
    refusals = []

    with call_limiter.write(1, "a"):
        for _ in range(2):
            with pytest.raises(Refused) as refused, call_limiter.write(1, "a"):
                pass
            refusals.append(refused.value)

    assert refusals[0] is not refusals[1]


@pytest.mark.parametrize("cause", [STALLED, TOO_MANY_STREAMS])
def test_calls_ended_for_their_clients_are_counted_and_reported(
    cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    """For a minute; calls are answered all the same."""
    now = [0.0]
    call_limiter = CallLimiter(max_calls=1, monotonic=lambda: now[0])
    before = metrics.GRPC_REFUSED.labels(cause)._value.get()
    assert call_limiter.state().problem is None

    with caplog.at_level(logging.WARNING):
        call_limiter.ended(cause, 40)
    problem = call_limiter.state().problem
    now[0] = STALLED_SHOWN_SECONDS

    assert before + 40 == metrics.GRPC_REFUSED.labels(cause)._value.get()
    assert [f"ending calls that wait for their clients cause={cause} count=40"] == [
        each.getMessage() for each in caplog.records
    ]
    assert STALLED == problem
    assert call_limiter.state().problem is None


def test_what_the_engine_refuses_is_counted() -> None:
    call_limiter = CallLimiter(max_calls=1, monotonic=lambda: 0.0)

    call_limiter.ended(TOO_MANY, 1)

    assert {UNREADABLE: 0, TOO_MANY: 1, STALLED: 0, TOO_MANY_STREAMS: 0} == (
        call_limiter.state().details["refused"]
    )


def test_one_caller_leaves_room_for_others() -> None:
    """A connection with less than its share may still wait where another took all the places."""
    call_limiter = CallLimiter(max_calls=20, monotonic=lambda: 0.0)

    with ExitStack() as waiting:
        for _ in range(20):
            waiting.enter_context(call_limiter.reads.entered(1, "greedy"))
        assert not call_limiter.has_room_for_read(1, "greedy")
        for _ in range(2):
            assert call_limiter.has_room_for_read(1, "modest")
            waiting.enter_context(call_limiter.reads.entered(1, "modest"))
        full = call_limiter.has_room_for_read(1, "modest")

    assert not full
    assert call_limiter.has_room_for_read(1, "greedy")


def test_room_for_others_is_no_room_for_the_greedy_one() -> None:
    """Two connections that have their share already wait no more than one would."""
    call_limiter = CallLimiter(max_calls=20, monotonic=lambda: 0.0)

    with ExitStack() as waiting:
        for peer in ("a", "b") * 10:
            waiting.enter_context(call_limiter.writes.entered(1, peer))

        with pytest.raises(Refused), call_limiter.write(1, "a"):
            pass
