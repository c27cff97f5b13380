"""The overrides in force in this process: read in the background, asked by every check."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType

from entitlements import metrics
from entitlements.background import Background
from entitlements.domain.decision import Query
from entitlements.domain.difference import Difference
from entitlements.domain.entity import EntityKey
from entitlements.domain.entity_history import NO_HISTORY, ChangeRecorder, Origin
from entitlements.domain.override import Override
from entitlements.domain.ports import Clock
from entitlements.overrides import ledger
from entitlements.overrides.table import OverrideTable
from entitlements.redis.shared_records import SharedRecords
from entitlements.shared_table import POLL_SECONDS, SharedTable, Table

logger = logging.getLogger(__name__)

TASK = "overrides"
SHARED_SECONDS = 9 * 24 * 3600
"""Redis forgets all of them so long after the last change: none runs for longer."""
NOTED_MS = 10_000
"""How long one has left is noted as often, for a restart with a clock that was set back."""


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
        table: Table[Override] | None = None,
        history: ChangeRecorder = NO_HISTORY,
    ) -> None:
        self._clock = clock
        self._changed = changed
        self._history = history
        self._table = SharedTable(
            table or OverrideTable(clock), task=TASK, clock=clock, shared=shared, poll_seconds=poll_seconds
        )
        self._running: Mapping[str, Running] = {}
        self._by_key: Mapping[EntityKey, tuple[Running, ...]] = MappingProxyType({})
        self._until: dict[str, float] = {}
        """By id, from when it was first seen: a later look at a clock that was set back changes nothing."""
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
        return next((each for each in self.of(query.key) if each.target == query.target), None)

    def in_force(self) -> list[Override]:
        """All of them, the oldest first."""
        now, now_ms = self._clock.both()
        running = [each.override for each in self._running.values() if each.is_in_force(now, now_ms)]
        return sorted(running, key=lambda each: each.begins_ms)

    @asynccontextmanager
    async def followed(self, background: Background) -> AsyncIterator[None]:
        """While entered, what changes comes into force; it is read once before."""
        async with self._table.followed(background, self.refresh):
            yield

    async def refresh(self) -> None:
        """Takes over what was begun and ended here and elsewhere by now."""
        async with self._reading:
            known = await self._table.look()
            now, now_ms = self._clock.both()
            expired = self._put_in_force(known, now=now, now_ms=now_ms)
            left_ms = self._to_note(now)
            if expired or left_ms:
                await self._table.write(lambda: ledger.note(ended=expired, left_ms=left_ms, now_ms=now_ms))

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
        left_ms = min(override.ends_ms - now_ms, override.longest_left_ms)
        return self._until.setdefault(override.id, now + left_ms / 1000)

    def _to_note(self, now: float) -> dict[str, int]:
        """How long those have left that may be noted anew, by id."""
        left = {id_: _noted_ms((each.until - now) * 1000) for id_, each in self._running.items()}
        return {id_: ms for id_, ms in left.items() if ms < self._running[id_].override.longest_left_ms}

    def _log_changes(
        self, before: Mapping[str, Running], running: Mapping[str, Running], known: Mapping[str, Override]
    ) -> None:
        for id_ in running.keys() - before.keys():
            self._note(running[id_].override, ended_by=None)
            logger.warning("override began", extra=_fields_of(running[id_].override))
        for id_ in before.keys() - running.keys():
            ended_by = known[id_].ended_by if id_ in known else ""
            self._note(before[id_].override, ended_by=ended_by or "its time")
            cause = {"cause": "ended" if ended_by else "time", "ended_by": ended_by}
            logger.warning("override ended", extra=_fields_of(before[id_].override) | cause)

    def _note(self, override: Override, *, ended_by: str | None) -> None:
        is_credit = override.currency_id is not None
        element = f"currency {override.currency_id}" if is_credit else f"feature {override.feature_id}"
        verdict = "granted" if override.has_access else "denied"
        described = f"{verdict} by {override.author}: {override.reason}"
        change = (None, described) if ended_by is None else (described, f"ended by {ended_by}")
        self._history.note_differences(
            override.key, [Difference("override", element, *change)], Origin.OVERRIDE
        )

    def _measure(self, now_ms: int) -> None:
        metrics.OVERRIDES_IN_FORCE.set(len(self._running))
        oldest_ms = min((each.override.begins_ms for each in self._running.values()), default=now_ms)
        metrics.OVERRIDES_OLDEST_AGE.set(max(now_ms - oldest_ms, 0) / 1000)


def _noted_ms(left_ms: float) -> int:
    """The same in all processes, or nearly: rounded up, so that none writes what another just has."""
    return math.ceil(left_ms / NOTED_MS) * NOTED_MS


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
