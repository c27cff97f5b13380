"""The places of an engine: which calls wait for their client, and which of them are ended for it.

A call that has not sent its request, or whose reply is not read, costs its client nothing and us a place.
Such calls, and open streams, have bounds and a time of their own, so that what waits for us, hits and health
never lack a place because of them. Past a bound every connection keeps its share, and what one has beyond it
is ended, the oldest first: whoever opens thousands ends his own.

Nothing here reads a clock: an engine calls `tick` about once a second, after it has looked at all that its
clients have sent so far. So our own slowness is nobody's stalling.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from grpc_service.causes import STALLED, TOO_MANY, TOO_MANY_STREAMS
from grpc_service.engines.sockets import cut

TICK_SECONDS = 1.0
STALLED_TICKS = 30
"""A call waits no longer for the rest of its request, or for its reply to be read, than so many ticks."""
MAX_STALLED = 10_000
"""So many calls may wait for their clients for longer than a moment."""
MOMENT_TICKS = 2
"""What is younger has not stalled: every call waits for its client for a moment."""
LEAVING_TICKS = 5
"""A call that was ended is over at once. If it is not after so many ticks, its client reads nothing."""
MAX_STREAMS = 1000
"""So many streams may be open: each watcher of health is one."""

_SENTENCES = {
    STALLED: "the request was not sent, or its reply was not read, in time",
    TOO_MANY_STREAMS: "too many streams are open",
}

C = TypeVar("C", bound=Hashable)


class Places(Generic[C]):
    """Calls that have a place without being waited on by us; `hold`, `let_go` and `open` from any thread."""

    def __init__(
        self,
        *,
        max_calls: int,
        peer_of: Callable[[C], str],
        end: Callable[[C, str], None],
        on_ended: Callable[[str, int], None],
    ) -> None:
        """Holds nothing yet.

        Args:
            max_calls: of all kinds; one more takes the place of those that `make_room` ends.
            peer_of: the connection that a call came by, as gRPC calls it.
            end: ends a call with this sentence; `finished` is called later, or its connection is cut.
            on_ended: counts calls that were ended or refused, by their cause.
        """
        self._max_calls = max_calls
        self._peer_of = peer_of
        self._end = end
        self._on_ended = on_ended
        self._now = 0
        self._held: dict[C, int] = {}
        """Calls that wait for their client, and the tick since when; the oldest first."""
        self._streams: dict[C, int] = {}
        self._leaving: dict[C, tuple[int, str]] = {}
        """Ended, and still counted by the engine as under way: since which tick, and by which connection."""

    @property
    def stalled(self) -> int:
        """How many calls wait for their client, also for a moment."""
        return len(self._held)

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    @property
    def leaving(self) -> int:
        """How many calls were ended and are not over yet."""
        return len(self._leaving)

    def hold(self, call: C) -> None:
        """A call waits for its client from now on."""
        self._held[call] = self._now

    def let_go(self, call: C) -> None:
        """It waits no more."""
        self._held.pop(call, None)

    def open(self, call: C) -> None:
        """A stream's first request is here: it waits no more, and is an open stream from now on."""
        if call not in self._held:
            return
        self._streams[call] = self._now
        if self._held.pop(call, None) is None:  # `finished` came between, on another thread
            self._streams.pop(call, None)

    def finished(self, call: C) -> None:
        """A call is over, in whatever way."""
        self._held.pop(call, None)
        if self._streams:
            self._streams.pop(call, None)
        if self._leaving:
            self._leaving.pop(call, None)

    def tick(self) -> None:
        """Ends what has waited for too long, and where too many wait, what is past its connection's share."""
        self._now += 1
        waiting = tuple(self._held.items())  # in one step: other threads go on meanwhile
        late = [call for call, since in waiting if self._now - since > STALLED_TICKS]
        slow = [call for call, since in waiting if MOMENT_TICKS <= self._now - since <= STALLED_TICKS]
        self._end_all(STALLED, [*late, *self._past_their_share(slow, MAX_STALLED)])
        self._end_all(TOO_MANY_STREAMS, self._past_their_share(tuple(self._streams), MAX_STREAMS))
        leaving = tuple(self._leaving.values())
        if deaf := {peer for since, peer in leaving if self._now - since > LEAVING_TICKS}:
            cut(deaf)

    def has_room(self, under_way: int) -> bool:
        """True when a call that makes it so many has a place, if by the end of others; else it is counted."""
        if under_way - len(self._leaving) <= self._max_calls:
            return True
        calls = (*self._held, *self._streams)
        self._end_all(STALLED, self._past_their_share(calls, len(calls) // 2))
        if under_way - len(self._leaving) <= self._max_calls:
            return True
        self._on_ended(TOO_MANY, 1)
        return False

    def _end_all(self, cause: str, calls: Sequence[C]) -> None:
        for call in calls:
            self._held.pop(call, None)
            self._streams.pop(call, None)
            self._leaving[call] = (self._now, self._peer_of(call))  # whose peer is forgotten at its end
            self._end(call, _SENTENCES[cause])
        if calls:
            self._on_ended(cause, len(calls))

    def _past_their_share(self, calls: Sequence[C], room: int) -> Sequence[C]:
        return (
            past_their_share([(call, self._peer_of(call)) for call in calls], room)
            if len(calls) > room
            else ()
        )


def past_their_share(calls: Sequence[tuple[C, Hashable]], room: int) -> list[C]:
    """Which of these calls, the oldest first and each with its connection, must go for the rest to have room.

    No connection loses a call while another has more than a share of the room.
    """
    count_of = Counter(peer for _, peer in calls)
    share = max(1, room // len(count_of))
    going = []
    for call, peer in calls:
        if count_of[peer] > share:
            count_of[peer] -= 1
            going.append(call)
    gone = set(going)
    left: Iterable[C] = (call for call, _ in calls if call not in gone)
    past = len(calls) - len(going) - room
    return [*going, *(call for call, _ in zip(left, range(past), strict=False))]
