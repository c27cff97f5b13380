"""Which calls that wait for their clients are ended, and whose."""

import pytest

from grpc_service.causes import STALLED, TOO_MANY, TOO_MANY_STREAMS
from grpc_service.engines import places
from grpc_service.engines.places import LEAVING_TICKS, MOMENT_TICKS, STALLED_TICKS, Places, past_their_share

Called = tuple[str, int]
"""A connection, and the number of a call on it."""


class Engine:
    """What was ended, and what was reported of it."""

    def __init__(self, *, max_calls: int = 100) -> None:
        self.ended: list[Called] = []
        self.reported: list[tuple[str, int]] = []
        self.places: Places[Called] = Places(
            max_calls=max_calls,
            peer_of=lambda call: call[0],
            end=lambda call, _: self.ended.append(call),
            on_ended=lambda cause, count: self.reported.append((cause, count)),
        )

    def tick(self, times: int) -> None:
        for _ in range(times):
            self.places.tick()


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MAX_STALLED", 4)
    monkeypatch.setattr(places, "MAX_STREAMS", 4)


def held(engine: Engine, peer: str, count: int) -> None:
    for number in range(count):
        engine.places.hold((peer, number))


def test_a_crowd_that_has_only_begun_is_left_alone() -> None:
    """A burst of calls waits for its client for a moment, however many they are."""
    engine = Engine()

    held(engine, "a", 50)
    engine.tick(MOMENT_TICKS - 1)

    assert [] == engine.ended


def test_too_many_that_stall_end_at_the_cost_of_who_has_most() -> None:
    """The oldest of the connection with most; who has one keeps it."""
    engine = Engine()

    engine.places.hold(("b", 0))
    held(engine, "a", 5)
    engine.tick(MOMENT_TICKS)

    assert [("a", 0), ("a", 1), ("a", 2)] == engine.ended
    assert [(STALLED, 3)] == engine.reported
    assert 3 == engine.places.stalled


def test_a_call_that_stalls_for_too_long_ends() -> None:
    """Alone as it is; a call whose request came, and one that is over, does not."""
    engine = Engine()
    held(engine, "a", 3)
    engine.places.let_go(("a", 1))
    engine.places.finished(("a", 2))

    engine.tick(STALLED_TICKS)
    before = list(engine.ended)
    engine.tick(1)

    assert [] == before
    assert [("a", 0)] == engine.ended


def test_too_many_streams_end_at_the_cost_of_who_has_most() -> None:
    """However long they are open, as long as they are few."""
    engine = Engine()
    held(engine, "a", 4)
    for number in range(4):
        engine.places.open(("a", number))
    engine.tick(2 * STALLED_TICKS)
    before = list(engine.ended)

    engine.places.hold(("b", 0))
    engine.places.open(("b", 0))
    engine.tick(1)

    assert [] == before
    assert [("a", 0), ("a", 1)] == engine.ended
    assert [(TOO_MANY_STREAMS, 2)] == engine.reported


def test_a_stream_is_open_by_its_first_request_alone() -> None:
    """Later ones change nothing; nor does one that comes when the stream is over."""
    engine = Engine()
    engine.places.hold(("a", 0))
    for _ in range(2):
        engine.places.open(("a", 0))
    engine.places.hold(("a", 1))
    engine.places.finished(("a", 1))
    engine.places.open(("a", 1))

    assert 0 == engine.places.stalled
    assert 1 == engine.places.streams


def test_one_call_more_takes_the_place_of_those_that_wait_for_their_clients() -> None:
    """Also of the youngest; what was ended and is not over yet has no place any more."""
    engine = Engine(max_calls=10)
    held(engine, "a", 9)
    engine.places.hold(("b", 0))

    rooms = [engine.places.has_room(under_way) for under_way in (10, 11, 12)]

    assert [True, True, True] == rooms
    assert [("a", number) for number in range(7)] == engine.ended
    assert [(STALLED, 7)] == engine.reported


def test_one_call_more_is_refused_where_all_wait_for_us() -> None:
    engine = Engine(max_calls=10)

    assert not engine.places.has_room(11)
    assert [(TOO_MANY, 1)] == engine.reported


def test_places_come_back_when_the_ended_are_over() -> None:
    engine = Engine(max_calls=1)
    engine.places.hold(("a", 0))
    engine.places.hold(("a", 1))
    assert engine.places.has_room(2)

    engine.places.finished(("a", 0))

    assert engine.places.has_room(1)
    assert not engine.places.has_room(2 + 1)


def test_who_reads_nothing_at_all_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its calls were ended, and are not over."""
    cuts: list[set[str]] = []
    monkeypatch.setattr(places, "cut", cuts.append)
    engine = Engine()
    held(engine, "a", 6)
    engine.tick(MOMENT_TICKS)
    assert [("a", 0), ("a", 1)] == engine.ended
    engine.places.finished(("a", 0))
    engine.tick(LEAVING_TICKS)
    before = list(cuts)

    engine.tick(1)
    engine.places.finished(("a", 1))
    engine.tick(1)

    assert [] == before
    assert [{"a"}] == cuts


@pytest.mark.parametrize(
    ("peers", "room", "going"),
    [
        ("aaab", 2, [0, 1]),
        ("abcd", 2, [0, 1]),  # each has its share, and there are too many all the same
        ("aabbcc", 3, [0, 2, 4]),
        ("baaaa", 4, [1, 2]),
        ("aa", 1, [0]),
        ("a", 0, [0]),
    ],
)
def test_who_has_more_than_a_share_goes(peers: str, room: int, going: list[int]) -> None:
    calls = list(enumerate(peers))

    assert going == past_their_share([(number, peer) for number, peer in calls], room)
