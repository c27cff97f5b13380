"""Asks the cloud again about suspect entities, in the background, spread out and within a rate."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Self

from entitlements import metrics
from entitlements.background import Background, ended
from entitlements.domain.entity import EntityKey
from entitlements.domain.gap import NO_GAP, Gap
from entitlements.domain.ports import Clock, EntityStore
from entitlements.service.fetcher import EntityFetcher
from entitlements.service.flight import NotFetched

MAX_SUSPECTS_WAITING = 10_000
"""How many re-checks may wait for their turn; past it a suspect waits for its next read."""
SOONEST_JITTER = 0.5
LATEST_JITTER = 1.5
"""Between two re-checks pass this many times the mean interval, so that a fleet does not ask in step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """When one entity is asked about."""

    asked_at: float
    """Since when it is wanted."""
    due_at: float
    """It is its turn then, or as soon after it as the rate allows."""
    gap: Gap | None
    """What `due_at` was drawn for; None: it changed, and that is news."""


class Revalidator:
    """Re-checks suspects in turn while entered as an async context manager.

    The story of an outage. The cloud or Redis is back for all processes of a fleet in one moment, or all were
    deployed anew.

    1. What was read meanwhile is suspect, and waits here already. At the end of the gap it gets another turn,
       drawn by lot (domain/gap.py); so does what is found suspect soon after.
    2. Another process may have its turn with the same entity before, and Redis names what that wrote. So a
       suspect is looked at before the cloud is asked: what was confirmed since needs no asking.
    3. What has changed (`recheck`) waits for none of that, nor does a caller who needs the cloud's answer: it
       asks the fetcher itself, which makes the turn unneeded.
    """

    def __init__(  # noqa: PLR0913 - each a part of its own, used here alone
        self,
        *,
        fetcher: EntityFetcher,
        store: EntityStore,
        clock: Clock,
        random: Random,
        refreshes_per_second: float,
        background: Background,
        room: Callable[[], Awaitable[None]] | None = None,
        last_gap: Callable[[], Gap] = lambda: NO_GAP,
    ) -> None:
        """Re-checks nothing yet.

        Args:
            fetcher: asks the cloud.
            store: what is held.
            clock: for when a re-check is due, or failed.
            random: for jitter, and draws the turns after a gap.
            refreshes_per_second: its rate.
            background: the parent of its tasks.
            room: waits until a re-check takes nothing that callers may need; None: it never does.
            last_gap: what was missed last; re-checks are spread out after it.
        """
        self._room = room
        self._last_gap = last_gap
        self._fetcher = fetcher
        self._store = store
        self._clock = clock
        self._random = random
        self._mean_interval_seconds = 1 / refreshes_per_second
        self._turns: dict[EntityKey, _Turn] = {}
        self._order: list[tuple[float, int, EntityKey]] = []
        """By `due_at`, then as they came; also what has another turn by now."""
        self._arrivals = 0
        self._arrived = asyncio.Event()
        self._background = background
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0

    @property
    def waiting(self) -> int:
        """How many suspects wait for their turn."""
        return len(self._turns)

    @property
    def spread_seconds(self) -> float:
        """So long re-checks are still spread out after a gap; 0: they are not."""
        return max(0.0, self._last_gap().spread_until - self._clock.monotonic())

    async def __aenter__(self) -> Self:
        self._loop, self._thread_id = asyncio.get_running_loop(), threading.get_ident()
        self._watch(self._background.keep("rechecks", self._take_turns))
        return self

    async def __aexit__(self, *_: object) -> None:
        await ended(*self._tasks)

    def recheck(self, key: EntityKey) -> bool:
        """Asks the cloud again, as the entity has changed: as soon as the rate allows.

        Returns False when too many are known to wait already.
        """
        now = self._clock.monotonic()
        waiting = self._turns.get(key)
        if waiting is not None and waiting.gap is None:
            return True
        due_at = now if waiting is None else min(waiting.due_at, now)
        return self._enqueue(key, _Turn(asked_at=now, due_at=due_at, gap=None))

    def recheck_suspect(self, key: EntityKey) -> bool:
        """The same for what may have changed, when its turn comes; once, however often this is called before.

        It may be called from any thread.
        """
        if key in self._turns:
            return True
        if self._loop is not None and threading.get_ident() != self._thread_id:
            self._loop.call_soon_threadsafe(self.recheck_suspect, key)
            return True
        return self._enqueue(key, self._turn_of_suspect(self._clock.monotonic()))

    def _turn_of_suspect(self, asked_at: float) -> _Turn:
        gap, now = self._last_gap(), self._clock.monotonic()
        due_at = now if gap.spread_until <= now else max(now, gap.due_at(self._random.random()))
        if due_at > now:
            metrics.RECHECKS_SPREAD.inc()
        return _Turn(asked_at=asked_at, due_at=due_at, gap=gap)

    def _enqueue(self, key: EntityKey, turn: _Turn) -> bool:
        if key not in self._turns and len(self._turns) >= MAX_SUSPECTS_WAITING:
            metrics.RECHECKS.labels("dropped").inc()
            return False
        self._turns[key] = turn
        self._arrivals += 1
        heappush(self._order, (turn.due_at, self._arrivals, key))
        metrics.SUSPECTS_WAITING.set(len(self._turns))
        self._arrived.set()
        return True

    async def _take_turns(self) -> None:
        while True:
            await self._one_is_due()
            if self._room is not None:
                await self._room()
            key = self._next()
            if key is None:
                continue
            turn = self._turns.pop(key)
            metrics.SUSPECTS_WAITING.set(len(self._turns))
            self._watch(self._background.once("recheck", partial(self._recheck, key, turn)))
            jitter = self._random.uniform(SOONEST_JITTER, LATEST_JITTER)
            await asyncio.sleep(jitter * self._mean_interval_seconds)

    async def _one_is_due(self) -> None:
        while True:
            self._arrived.clear()
            seconds = self._order[0][0] - self._clock.monotonic() if self._order else inf
            if seconds <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == inf else seconds):
                    await self._arrived.wait()

    def _next(self) -> EntityKey | None:
        """Whose turn it is; None where the first has another turn by now."""
        due_at, _, key = heappop(self._order)
        turn = self._turns.get(key)
        if turn is None or turn.due_at != due_at:
            return None
        if turn.gap is not None and turn.gap != self._last_gap():
            turn = self._turn_of_suspect(turn.asked_at)
            if turn.due_at > self._clock.monotonic():
                self._enqueue(key, turn)
                return None
        return key

    async def _recheck(self, key: EntityKey, turn: _Turn) -> None:
        if turn.gap is not None and await self._is_confirmed(key, since=turn.asked_at):
            metrics.RECHECKS.labels("unneeded").inc()
            return
        outcome = await self._fetcher.fetch(key)
        if isinstance(outcome, NotFetched):
            await self._store.mark_recheck_failed(key, at=self._clock.monotonic())
            metrics.RECHECKS.labels("failed").inc()
        else:
            metrics.RECHECKS.labels("confirmed").inc()

    async def _is_confirmed(self, key: EntityKey, *, since: float) -> bool:
        """True where a caller, the feed or another process has had it confirmed meanwhile."""
        held = self._store.get(key)
        if held is not None and held.is_named:
            held = await self._store.find_shared(key)
        return held is not None and held.failed_at is None and held.confirmed_at > since

    def _watch(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
