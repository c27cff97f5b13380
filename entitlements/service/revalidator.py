"""Asks the cloud again about suspect entities, in the background, spread out to a bounded rate."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Self

from entitlements import metrics
from entitlements.background import Background, ended
from entitlements.domain.entity import EntityKey
from entitlements.domain.ports import Clock, EntityStore
from entitlements.service.fetcher import EntityFetcher
from entitlements.service.flight import NotFetched

MAX_SUSPECTS_WAITING = 10_000
"""How many re-checks may wait for their turn; past it a suspect waits for its next read."""
SOONEST_JITTER = 0.5
LATEST_JITTER = 1.5
"""Between two re-checks pass this many times the mean interval, so that a fleet does not ask in step."""


class Revalidator:
    """Re-checks suspects in turn while entered as an async context manager."""

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
    ) -> None:
        """Re-checks nothing yet.

        Args:
            fetcher: asks the cloud.
            store: what is held.
            clock: for when a re-check failed.
            random: for jitter.
            refreshes_per_second: its rate.
            background: the parent of its tasks.
            room: waits until a re-check takes nothing that callers may need; None: it never does.
        """
        self._room = room
        self._fetcher = fetcher
        self._store = store
        self._clock = clock
        self._random = random
        self._mean_interval_seconds = 1 / refreshes_per_second
        self._waiting: dict[EntityKey, None] = {}
        self._arrived = asyncio.Event()
        self._background = background
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0

    @property
    def waiting(self) -> int:
        """How many suspects wait for their turn."""
        return len(self._waiting)

    async def __aenter__(self) -> Self:
        self._loop, self._thread_id = asyncio.get_running_loop(), threading.get_ident()
        self._watch(self._background.keep("rechecks", self._take_turns))
        return self

    async def __aexit__(self, *_: object) -> None:
        await ended(*self._tasks)

    def recheck(self, key: EntityKey) -> bool:
        """Asks the cloud again when the entity's turn comes; once, however often it is called until then.

        It may be called from any thread. Returns False when too many are known to wait already.
        """
        if key in self._waiting:
            return True
        if self._loop is not None and threading.get_ident() != self._thread_id:
            self._loop.call_soon_threadsafe(self.recheck, key)
            return True
        if len(self._waiting) >= MAX_SUSPECTS_WAITING:
            metrics.RECHECKS.labels("dropped").inc()
            return False
        self._waiting[key] = None
        metrics.SUSPECTS_WAITING.set(len(self._waiting))
        self._arrived.set()
        return True

    async def _take_turns(self) -> None:
        while True:
            await self._arrived.wait()
            while self._waiting:
                if self._room is not None:
                    await self._room()
                key = next(iter(self._waiting))
                del self._waiting[key]
                metrics.SUSPECTS_WAITING.set(len(self._waiting))
                self._watch(self._background.once("recheck", partial(self._recheck, key)))
                jitter = self._random.uniform(SOONEST_JITTER, LATEST_JITTER)
                await asyncio.sleep(jitter * self._mean_interval_seconds)
            self._arrived.clear()

    async def _recheck(self, key: EntityKey) -> None:
        outcome = await self._fetcher.fetch(key)
        if isinstance(outcome, NotFetched):
            await self._store.mark_recheck_failed(key, at=self._clock.monotonic())
            metrics.RECHECKS.labels("failed").inc()
        else:
            metrics.RECHECKS.labels("confirmed").inc()

    def _watch(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
