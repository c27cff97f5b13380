"""The overrides in force in this process: read in the background, asked by every check."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from django.core.exceptions import ValidationError
from django.db import DatabaseError, connections

from entitlements import metrics
from entitlements.background import Background
from entitlements.domain.decision import Query
from entitlements.domain.entity import EntityKey
from entitlements.domain.override import Override
from entitlements.domain.ports import Clock
from entitlements.json_fields import Malformed
from entitlements.overrides import ledger
from entitlements.overrides.codec import merged, override_from, record_of
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.redis.shared_records import SharedRecords

logger = logging.getLogger(__name__)

TASK = "overrides"
POLL_SECONDS = 0.25
"""What is begun or ended here is announced to others so much later; they learn of it after as much again."""
SHARED_SECONDS = 9 * 24 * 3600
"""Redis forgets all of them so long after the last change: none runs for longer."""


_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An override in force, until either clock says that its time has come.

    A wall clock that is set back, or differs from that of whoever began it, so prolongs nothing.
    """

    override: Override
    until: float
    """Monotonic seconds."""

    def is_in_force(self, now: float, now_ms: int) -> bool:
        """True while its time has come by neither clock."""
        return now < self.until and now_ms < self.override.ends_ms


class StoredOverrides:
    """The overrides of the database and, where processes of other databases share a Redis, theirs.

    `of` and `find` are for any thread; the others belong to the event loop. What is in force is replaced
    whole, and only then `changed` is called, so that nothing that was remembered outlives it.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        changed: Callable[[], None],
        shared: SharedRecords | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._clock = clock
        self._changed = changed
        self._shared = shared
        self._poll_seconds = poll_seconds
        self._log = RateLimitedLog(logger, clock.monotonic)
        self._running: Mapping[str, Running] = {}
        self._by_key: Mapping[EntityKey, tuple[Running, ...]] = MappingProxyType({})
        self._until: dict[str, float] = {}
        """By id, from when it was first seen: a later look at a clock that was set back changes nothing."""
        self._known: dict[str, Override] = {}
        """The last that the database held; what runs goes on while it cannot be read."""
        self._thread: ThreadPoolExecutor | None = None
        self._background: Background | None = None
        self._reading = asyncio.Lock()

    def of(self, key: EntityKey) -> Sequence[Override]:
        """Those in force of one customer or resource."""
        running = self._by_key.get(key)
        if running is None:
            return ()
        now, now_ms = self._clock.both()
        return tuple(each.override for each in running if each.is_in_force(now, now_ms))

    def find(self, query: Query) -> Override | None:
        """The one in force that answers this query."""
        if not self._by_key:
            return None
        return next((each for each in self.of(query.key) if each.is_about(query)), None)

    @property
    def shared_by(self) -> str:
        """By what others learn of them: one database, or a Redis between several."""
        return "database" if self._shared is None else "redis"

    def in_force(self) -> list[Override]:
        """All of them, the oldest first."""
        now, now_ms = self._clock.both()
        running = [each.override for each in self._running.values() if each.is_in_force(now, now_ms)]
        return sorted(running, key=lambda each: each.begins_ms)

    @asynccontextmanager
    async def followed(self, background: Background) -> AsyncIterator[None]:
        """While entered, what changes comes into force; it is read once before."""
        self._background = background
        # One thread of its own: it keeps its connection, and a slow database delays nothing else.
        with ThreadPoolExecutor(1, TASK) as self._thread:
            await self.refresh()
            try:
                async with background.kept(TASK, self._poll):
                    yield
            finally:
                await self._on_thread(connections.close_all)  # that thread's own

    async def refresh(self) -> None:
        """Takes over what was begun and ended here and elsewhere by now."""
        async with self._reading:
            now, now_ms = self._clock.both()
            stored = await self._on_thread(self._stored)
            known = dict(self._known if stored is None else stored)
            learned = await self._exchange(known, now_ms=now_ms)
            expired = self._put_in_force(known, now=now, now_ms=now_ms)
            self._known = known
            if stored is not None and (learned or expired):
                await self._on_thread(lambda: self._keep(learned, expired, now_ms))

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            await self.refresh()

    async def _on_thread(self, work: Callable[[], _Answer]) -> _Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _stored(self) -> dict[str, Override] | None:
        """What the database holds; None where it cannot be read."""
        try:
            rows = ledger.rows(now_ms=self._clock.now_ms())
        except DatabaseError:
            self._log.warning("database", "the overrides of the database cannot be read")
            connections.close_all()
            return None
        stored = {}
        for row in rows:
            try:
                stored[row.id] = row.as_override()
            except ValidationError as error:
                self._skip(row.id, f"{', '.join(sorted(error.message_dict))} cannot be used")
        return stored

    def _keep(self, learned: Sequence[Override], expired: Sequence[str], now_ms: int) -> None:
        try:
            ledger.take_over(learned, expired=expired, now_ms=now_ms)
        except DatabaseError:
            self._log.warning("writing", "the overrides of others cannot be written to the database")
            connections.close_all()

    async def _exchange(self, known: dict[str, Override], *, now_ms: int) -> list[Override]:
        """Brings what this process and the others know to one; returns what the database must take over."""
        records = None if self._shared is None else await self._shared.read()
        if self._shared is None or records is None:
            return []
        learned, shared = [], {}
        for id_, record in records.items():
            try:
                shared[id_] = override_from(id_, record)
            except Malformed as error:
                self._skip(id_, str(error))
                continue
            best = merged(known.get(id_), shared[id_])
            if best != known.get(id_) and best.ends_ms > now_ms - ledger.FOLLOWED_AFTER_MS:
                known[id_] = best
                learned.append(best)
        unshared = {id_: record_of(each) for id_, each in known.items() if shared.get(id_) != each}
        over = [each.id for each in shared.values() if each.ends_ms <= now_ms - ledger.FOLLOWED_AFTER_MS]
        await self._shared.write(unshared, removed=over)
        return learned

    def _put_in_force(self, known: Mapping[str, Override], *, now: float, now_ms: int) -> list[str]:
        """Puts what runs in force, and returns the ids of those whose time has come."""
        running, expired = {}, []
        for each in _latest(known.values()):
            if each.ended_ms is not None:
                continue
            candidate = Running(override=each, until=self._until_of(each, now=now, now_ms=now_ms))
            if candidate.is_in_force(now, now_ms):
                running[each.id] = candidate
            else:
                expired.append(each.id)
        before, self._running = self._running, running
        self._until = {id_: each for id_, each in self._until.items() if id_ in known}
        if running.keys() != before.keys():
            by_key: dict[EntityKey, tuple[Running, ...]] = {}
            for one in running.values():
                by_key[one.override.key] = (*by_key.get(one.override.key, ()), one)
            self._by_key = MappingProxyType(by_key)
            self._changed()
            self._log_changes(before, running, known)
        self._measure(now_ms)
        return expired

    def _until_of(self, override: Override, *, now: float, now_ms: int) -> float:
        left_ms = min(override.ends_ms - now_ms, override.ends_ms - override.begins_ms)
        return self._until.setdefault(override.id, now + left_ms / 1000)

    def _log_changes(
        self, before: Mapping[str, Running], running: Mapping[str, Running], known: Mapping[str, Override]
    ) -> None:
        for id_ in running.keys() - before.keys():
            logger.warning("override began", extra=_fields_of(running[id_].override))
        for id_ in before.keys() - running.keys():
            ended_by = known[id_].ended_by if id_ in known else ""
            cause = {"cause": "ended" if ended_by else "time", "ended_by": ended_by}
            logger.warning("override ended", extra=_fields_of(before[id_].override) | cause)

    def _measure(self, now_ms: int) -> None:
        metrics.OVERRIDES_IN_FORCE.set(len(self._running))
        oldest_ms = min((each.override.begins_ms for each in self._running.values()), default=now_ms)
        metrics.OVERRIDES_OLDEST_AGE.set(max(now_ms - oldest_ms, 0) / 1000)

    def _skip(self, id_: str, cause: str) -> None:
        if self._background is not None:
            self._background.skip(TASK, id_, cause)


def _latest(overrides: Iterable[Override]) -> Iterable[Override]:
    """Of those about the same the one that was begun last, ended or not: it took the place of the others."""
    ordered = sorted(overrides, key=lambda each: (each.begins_ms, each.id))
    return {each.target: each for each in ordered}.values()


def _fields_of(override: Override) -> dict[str, object]:
    """Of an override, for a line of the log."""
    return {
        "override": override.id,
        "verdict": "grant" if override.has_access else "deny",
        "customer": override.key.customer_id,
        "resource": override.key.resource_id,
        "feature": override.feature_id or None,
        "currency": override.currency_id,
        "author": override.author,
        "reason": override.reason,
        "ends_ms": override.ends_ms,
    }
