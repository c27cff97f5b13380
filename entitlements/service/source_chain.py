"""The sources, asked one after the other within the bounds of all fetches: slots, one budget, circuits."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from entitlements import metrics
from entitlements.correlation import CALL_PEER
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.errors import (
    Busy,
    CircuitOpen,
    LaggingAnswer,
    Overloaded,
    UpstreamError,
)
from entitlements.domain.ports import (
    Clock,
    EntitySource,
    EntityStore,
    Source,
)
from entitlements.service.circuits import PROBE_BUDGET_SECONDS, Circuits
from entitlements.service.fair_slots import FairSlots

PUNCTUAL_SHARE = 0.9
"""A fetch that has less than this part of its budget left when it begins to ask was kept waiting by us."""
FIRST_SOURCE_SHARE = 0.4
"""The Edge may spend this part of the budget, so that the API can still answer within it."""
QUEUE_BUDGETS = 6
"""While the cloud answers others, a fetch waits for a slot no longer than this many budgets, and that is no
part of its budget: a start with thousands of cold customers is our own crowd, and no failure of the cloud."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """The bounds of all fetches of one process."""

    budget_seconds: float
    """One fetch takes no longer, its waiting for a slot apart (SIDECAR_FETCH_BUDGET_SECONDS)."""
    concurrency: int
    """How many fetches at a time (SIDECAR_FETCH_CONCURRENCY)."""
    queue_size: int
    """How many more may wait (SIDECAR_FETCH_QUEUE_SIZE)."""


class SourceChain:
    """Asks each source in turn; the last one's failure is raised."""

    def __init__(
        self,
        *,
        sources: Sequence[EntitySource],
        circuits: Circuits,
        store: EntityStore,
        clock: Clock,
        limits: FetchLimits,
    ) -> None:
        """Asks these, in this order.

        Args:
            sources: asked one after the other.
            circuits: theirs.
            store: what is held, which an answer may lag behind.
            clock: for the budget.
            limits: the bounds.
        """
        self._sources = sources
        self._circuits = circuits
        self._store = store
        self._clock = clock
        self._limits = limits
        self._slots = FairSlots(limits.concurrency)
        self._queued = 0
        self._answered_at = float("-inf")
        """When a source answered last."""

    def join(self, key: EntityKey) -> None:
        """One more caller wants an entity whose turn has not come yet."""
        self._slots.join(CALL_PEER.get(), key)

    async def ask(
        self, key: EntityKey, *, deadline: float, on_begin: Callable[[float], None]
    ) -> tuple[Entity, Source]:
        """The entity, and who answered; `on_begin` gets the moment at which its turn came.

        Raises:
            Overloaded: its turn did not come.
            UpstreamError: no source answered.
        """
        began_at = asked_at = self._clock.monotonic()
        if not self._slots.try_acquire():
            await self._take_slot(CALL_PEER.get(), key, within_seconds=deadline - began_at)
            asked_at = self._clock.monotonic()
        on_begin(asked_at)
        try:
            waited_seconds = asked_at - began_at if self._answered_at >= began_at else 0
            return await self._ask_each_source(key, deadline=deadline + waited_seconds)
        finally:
            self._slots.release()

    async def _take_slot(self, caller: str, key: EntityKey, *, within_seconds: float) -> None:
        """Waits for one; raises Overloaded where none comes in time, or too many wait already."""
        if self._queued >= self._limits.queue_size:
            full = Overloaded("SIDECAR_FETCH_QUEUE_SIZE")
            if not self._slots.displace(caller, full):
                raise full
        self._note_queued(+1)
        try:
            await self._wait_for_slot(caller, key, within_seconds=within_seconds)
        except TimeoutError as error:
            raise Overloaded("SIDECAR_FETCH_CONCURRENCY") from error
        finally:
            self._note_queued(-1)

    def _note_queued(self, step: int) -> None:
        self._queued += step
        metrics.FETCHES_QUEUED.set(self._queued)

    async def _wait_for_slot(self, caller: str, key: EntityKey, *, within_seconds: float) -> None:
        """Waits longer than given only while the cloud answers others: then our own crowd is before it."""
        loop = asyncio.get_running_loop()
        began_at = self._clock.monotonic()

        def judge() -> None:
            extra = self._limits.budget_seconds * (QUEUE_BUDGETS - 1) if self._answered_at >= began_at else 0
            limit.reschedule(loop.time() + extra)

        async with asyncio.timeout(None) as limit:
            judging = loop.call_later(within_seconds, judge)
            try:
                await self._slots.acquire(caller, key)
            finally:
                judging.cancel()

    def circuit_open(self) -> CircuitOpen:
        return CircuitOpen(self._sources[-1].source.value)

    async def _ask_each_source(self, key: EntityKey, *, deadline: float) -> tuple[Entity, Source]:
        failure: UpstreamError | None = None
        is_late = deadline - self._clock.monotonic() < self._limits.budget_seconds * PUNCTUAL_SHARE
        for source in self._sources:
            remaining = deadline - self._clock.monotonic()
            share = remaining if source is self._sources[-1] else remaining * FIRST_SOURCE_SHARE
            if share <= 0 or not self._circuits.try_acquire(source.source):
                continue
            if self._circuits.is_probed(source.source):
                share = min(share, PROBE_BUDGET_SECONDS)
            try:
                entity = await self._ask(source, key, budget_seconds=share, is_late=is_late)
            except UpstreamError as error:
                failure = error
                continue
            if source is self._sources[-1] or not self._lags_behind(key, entity):
                return entity, source.source
            failure = LaggingAnswer(source.source.value)
        raise failure or self.circuit_open()

    def _lags_behind(self, key: EntityKey, answer: Entity) -> bool:
        """True where a cache may have answered what was before: the API's answer is taken instead."""
        held = self._store.get(key)
        return held is not None and answer.may_lag_behind(held.entity)

    async def _ask(
        self, source: EntitySource, key: EntityKey, *, budget_seconds: float, is_late: bool
    ) -> Entity:
        """Asks one source; where we were late, it is not the source's fault that its time did not suffice."""
        began_at = self._clock.monotonic()
        try:
            entity = await source.fetch(key, budget_seconds=budget_seconds)
        except UpstreamError as error:
            has_used_it_up = self._clock.monotonic() - began_at >= budget_seconds * PUNCTUAL_SHARE
            failure = Busy(source.source.value) if is_late and has_used_it_up else error
            self._circuits.failed(source.source, failure, key=key, began_at=began_at)
            raise failure from error
        except asyncio.CancelledError:
            self._circuits.abandoned(source.source)
            raise
        self._circuits.succeeded(source.source)
        self._answered_at = self._clock.monotonic()
        return entity
