"""What Redis names as changed, by whomever: CLIENT TRACKING in broadcasting mode, one connection a primary.

A name is all that is sent of a change, so a process pays for what it holds and not for what happens.
"""

import asyncio
import enum
import logging
from collections.abc import Callable, Sequence
from select import POLLIN, poll
from typing import Protocol

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from entitlements import metrics
from entitlements.domain.entity import EntityKey
from entitlements.redis.connection import RedisConnection
from entitlements.redis.keys import Change, KeySpace, raw
from entitlements.redis.nodes import name_again, node_names, primary_named
from entitlements.redis.stoppable_thread import StoppableThread
from entitlements.redis.tracking_line import Names, TrackingLine

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""So long `stop` waits at most for the thread to notice."""
PAUSE_SECONDS = 1.0
"""Between two attempts to subscribe."""
REFUSED_PAUSE_SECONDS = 30.0
"""The same where Redis refused it: a right is given by people."""
GATHER_SECONDS = 0.02
"""What changes meanwhile is read together: a thousand changes a second wake the thread fifty times."""


class TrackingState(enum.Enum):
    """Whether Redis names what changes; the values are shown in `/readyz?verbose`."""

    ON = "on"
    """All primaries do."""
    LOST = "lost"
    """One is not connected: what is held is suspect until it is again."""
    REFUSED = "refused"
    """Not allowed, or not known there: what is held is re-checked by age."""


class TrackingListener(Protocol):
    """Who learns of it, on the event loop, but for `wants`."""

    def wants(self, change: Change) -> bool:
        """False where it is all the same to this process; asked on the thread that reads."""
        ...

    def changed(self, changes: Sequence[Change]) -> None:
        """These were written or removed, in this order."""
        ...

    def lease_changed(self) -> None:
        """Who leads, or what they say, is another than before."""
        ...

    def tracking_began(self) -> None:
        """From now on every change is named."""
        ...

    def tracking_ended(self) -> None:
        """From now on some are not."""
        ...

    def emptied(self) -> None:
        """All keys are gone."""
        ...


class KeyTracking:
    """Reads names on a thread of its own, which is ended by `stop`."""

    def __init__(
        self, connection: RedisConnection, *, keys: KeySpace, monotonic: Callable[[], float]
    ) -> None:
        self.state = TrackingState.LOST
        self._monotonic = monotonic
        self._connection = connection
        self._keys = keys
        self._lease = raw(keys.feed_lease)
        self._customers = keys.customers
        self._listener: TrackingListener
        self._loop: asyncio.AbstractEventLoop
        self._thread = StoppableThread("redis-tracking", self._follow)
        self._lines: dict[str, TrackingLine] = {}

    def start(self, listener: TrackingListener) -> None:
        """Begins, now or as soon as Redis answers; called on the event loop of the listener."""
        self._listener, self._loop = listener, asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Ends it; can be called twice."""
        self._thread.stop()

    def _follow(self) -> None:
        while not self._thread.is_stopped:
            state = self._followed_until_reset()
            self._close(*list(self._lines))
            self._move(state)
            if not self._thread.is_stopped:
                metrics.REDIS_CLIENT_ERRORS.inc()
                is_refused = state is TrackingState.REFUSED
                self._thread.pause(REFUSED_PAUSE_SECONDS if is_refused else PAUSE_SECONDS)

    def _followed_until_reset(self) -> TrackingState:
        """Why nothing is named any more."""
        try:
            self._follow_until_reset()
        except RedisConnectionError:  # a NoPermissionError is none, whatever else is refused as one logs in
            return TrackingState.LOST
        except ResponseError:  # no right, or a Redis that knows neither RESP3 nor tracking
            return TrackingState.REFUSED
        except (RedisError, RedisClusterException, OSError):  # the connection says so in the log
            return TrackingState.LOST
        except Exception:  # redis-py fails in many ways where a connection breaks
            logger.warning("what changes in redis cannot be followed for a moment", exc_info=True)
        return TrackingState.LOST

    def _follow_until_reset(self) -> None:
        """Reads until another Redis may stand behind the name."""
        client, resets = self._connection.client, self._connection.resets
        tried_at = float("-inf")
        while not self._thread.is_stopped and resets == self._connection.resets:
            names = node_names(client)
            self._close(*(self._lines.keys() - names))
            if names != self._lines.keys():
                if self.state is TrackingState.ON:  # what is named until all are there is missed
                    self._move(TrackingState.LOST)
                if self._monotonic() - tried_at >= PAUSE_SECONDS:
                    tried_at = self._monotonic()
                    self._open_missing(client, names)
            if names == self._lines.keys():
                self._move(TrackingState.ON)
            self._read()

    def _open_missing(self, client: Redis, names: frozenset[str]) -> None:
        for name in names - self._lines.keys():
            try:
                node = primary_named(client, name)
                if node is not None:
                    self._lines[name] = self._line_to(node)
            except (RedisConnectionError, RedisTimeoutError, OSError):
                if len(names) == 1:
                    raise
                name_again(client)  # of a Cluster the others go on; another may have its keys by now

    def _line_to(self, node: Redis) -> TrackingLine:
        return TrackingLine(node, prefixes=(self._customers, self._lease), monotonic=self._monotonic)

    def _read(self) -> None:
        is_behind = any(line.is_behind for line in self._lines.values())
        arrivals = poll()
        for line in self._lines.values():
            arrivals.register(line.socket, POLLIN)
        has_arrived = bool(arrivals.poll(0 if is_behind else POLL_SECONDS * 1000))
        named: list[Names | None] = []
        for name, line in list(self._lines.items()):
            try:
                named += line.read()
                line.ping()
            except (RedisError, OSError):
                self._close(name)
        if named:
            self._hand_on(named)
        if has_arrived and not is_behind:
            self._thread.pause(GATHER_SECONDS)

    def _hand_on(self, named: Sequence[Names | None]) -> None:
        listener = self._listener
        changes: list[Change] = []
        seen = 0
        for names in named:
            if names is None:
                self._call(listener.emptied)
            elif names[0] == self._lease:  # it is named apart, as its prefix is another
                self._call(listener.lease_changed)
            else:
                seen += len(names)
                changes += self._wanted(names, listener)
        metrics.REDIS_NAMED_KEYS.inc(seen)
        if changes:
            self._call(listener.changed, changes)

    def _wanted(self, names: Names, listener: TrackingListener) -> list[Change]:
        """What is of interest of all that changed in one turn of Redis' loop, each entity once."""
        wanted: dict[EntityKey, Change] = {}
        before, last, known = b"", None, len(self._customers)
        for name in names:
            if name.endswith(b"#timestamp") and name[:-10] == before:  # Redis names them in their order
                if last is not None:
                    wanted[last] = wanted[last]._replace(with_timestamp=True)
                continue
            before, last = name, None
            change = self._keys.change_of(name[known:])
            if change is not None and listener.wants(change):
                last = change.key
                earlier = wanted.setdefault(last, change)
                wanted[last] = earlier._replace(is_whole=earlier.is_whole or change.is_whole)
        return list(wanted.values())

    def _move(self, state: TrackingState) -> None:
        if state is self.state:
            return
        self.state = state
        self._call(
            self._listener.tracking_began if state is TrackingState.ON else self._listener.tracking_ended
        )

    def _call(self, work: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work, *arguments)

    def _close(self, *names: str) -> None:
        for name in names:
            self._lines.pop(name).close()
