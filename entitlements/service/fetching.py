"""One fetch per entity however many wait for it, one budget, Edge then GraphQL."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from entitlements import metrics
from entitlements.domain.breaker import Breaker, BreakerState
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate, is_outdated, with_usage
from entitlements.domain.errors import (
    CircuitOpen,
    FailedElsewhere,
    KeyRefused,
    LaggingAnswer,
    Offline,
    Overloaded,
    Rejected,
    Throttled,
    UpstreamError,
)
from entitlements.domain.freshness import NEVER
from entitlements.domain.ports import Clock, EntitySource, EntityStore, FetchTurns, LastKnown, Source, Turn
from entitlements.occasional_log import OccasionalLog
from entitlements.service.outages import Outages
from entitlements.service.usage_notes import UsageNotes

logger = logging.getLogger(__name__)

FIRST_SOURCE_SHARE = 0.4
"""The Edge may spend this part of the budget, so that the API can still answer within it."""
KEY_REFUSED_PAUSE_SECONDS = 10.0
"""A refused key is tried again after this: it may have been mended in the cloud."""
THROTTLED_PAUSE_SECONDS = 2.0
"""A cloud that asks to slow down without saying how long is left alone for this."""
TURN_SECONDS = 2.0
"""So long a fetch waits for another process that fetches the same entity; then it fetches as well."""
TURN_SHARE = 0.4
"""Of its budget it waits no larger part, so that it can still fetch."""
MAX_ASKS = 3
"""So often the cloud is asked anew because of a change meanwhile; then its answer is suspect, or loses."""
CALLERS_OF_A_BURST = 10
"""So many callers that join one fetch are told in the log."""
PROBE_BUDGET_SECONDS = 1.0
"""The caller whose fetch finds out whether a source is back waits no longer for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """The bounds of all fetches of one process."""

    budget_seconds: float
    """One fetch takes no longer, its waiting included (SIDECAR_FETCH_BUDGET_SECONDS)."""
    concurrency: int
    """So many fetches at a time (SIDECAR_FETCH_CONCURRENCY)."""
    queue_size: int
    """So many more may wait (SIDECAR_FETCH_QUEUE_SIZE)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An entity as the cloud has it now, merged into what was held."""

    cached: CachedEntity
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFetched:
    """The cloud could not be asked, or did not answer."""

    error: UpstreamError | Overloaded


@dataclass(slots=True, kw_only=True)
class _Flight:
    """One fetch under way."""

    task: "asyncio.Task[Fetched | NotFetched]"
    is_doubted: bool = False
    joined: int = 0
    """So many more callers wait for it."""


class Fetching:
    """Fetches entities and keeps what it fetched."""

    def __init__(
        self,
        *,
        sources: Sequence[EntitySource],
        store: EntityStore,
        clock: Clock,
        limits: FetchLimits,
        turns: FetchTurns | None = None,
        last_known: LastKnown | None = None,
    ) -> None:
        """Fetches from the sources, in this order.

        Args:
            sources: asked one after the other.
            store: keeps what was fetched.
            clock: for the budget.
            limits: the bounds.
            turns: for one fetch among all processes.
            last_known: where nobody answers and nothing is held.
        """
        self._last_known = last_known
        self._turns = turns
        self._sources = sources
        self._breakers = {source.source: Breaker() for source in sources}
        self._store = store
        self._clock = clock
        self._limits = limits
        self._flights: dict[EntityKey, _Flight] = {}
        self._usage_notes = UsageNotes()
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._queued = 0
        self._outages = Outages(clock.monotonic)
        self._log = OccasionalLog(logger, clock.monotonic)
        self.joined = 0
        """So many callers waited for a fetch that another had begun."""

    @property
    def breaker_states(self) -> Mapping[Source, BreakerState]:
        """Whether each source is asked at present."""
        return MappingProxyType({source: breaker.state for source, breaker in self._breakers.items()})

    @property
    def failures(self) -> Mapping[Source, str]:
        """How each source failed that did not answer when it was asked last."""
        return self._outages.causes

    @property
    def under_way(self) -> int:
        """How many entities are being fetched."""
        return len(self._flights)

    async def stop(self) -> None:
        """Gives up every fetch under way."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def fetch(self, key: EntityKey) -> Fetched | NotFetched:
        """The entity from the cloud, merged into what is held; joins a fetch that is under way."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(task=asyncio.create_task(self._fly(key)))
            flight.task.add_done_callback(lambda _: self._flights.pop(key))
        else:
            self._join(flight)
        return await asyncio.shield(flight.task)

    def _join(self, flight: _Flight) -> None:
        flight.joined += 1
        self.joined += 1
        metrics.FETCHES_JOINED.inc()
        if flight.joined == CALLERS_OF_A_BURST:
            self._log.info("burst", "many calls wait for one fetch")

    def is_fetching(self, key: EntityKey) -> bool:
        """True while a fetch of this entity is under way."""
        return key in self._flights

    def doubt(self, key: EntityKey) -> None:
        """Lets a fetch under way end in a suspect entity: its answer may be older than what the feed told."""
        if key in self._flights:
            self._flights[key].is_doubted = True

    def note_usage(self, key: EntityKey, update: UsageUpdate) -> None:
        """Has the next entity that is fetched under this key show this usage, unless it knows a newer one."""
        self._usage_notes.note(key, update)

    async def _fly(self, key: EntityKey) -> Fetched | NotFetched:
        outcome = await self._fly_to_the_cloud(key)
        if isinstance(outcome, Fetched) or isinstance(outcome.error, Rejected):
            return outcome
        return await self._remembered(key) or outcome

    async def _remembered(self, key: EntityKey) -> Fetched | None:
        """What was known before this process began; stale from the start."""
        if self._last_known is None or self._store.peek(key) is not None:
            return None
        entity = self._last_known.get(key)
        if entity is None:
            return None
        stale = CachedEntity(entity=entity, confirmed_at=NEVER, failed_at=self._clock.monotonic())
        return Fetched(cached=await self._store.store(key, stale), source=Source.SNAPSHOT)

    async def _fly_to_the_cloud(self, key: EntityKey) -> Fetched | NotFetched:
        deadline = self._clock.monotonic() + self._limits.budget_seconds
        if not self._any_circuit_closed():
            return NotFetched(error=self._circuit_open())
        if self._turns is None:
            return await self._fetch_here(key, deadline=deadline)
        return await self._fetch_in_turn(key, self._turns, deadline=deadline)

    async def _fetch_in_turn(
        self, key: EntityKey, turns: FetchTurns, *, deadline: float
    ) -> Fetched | NotFetched:
        """Fetches, unless another process does so at this moment: then what it found is shared."""
        held = self._store.peek(key)
        wait_seconds = min(TURN_SECONDS, self._limits.budget_seconds * TURN_SHARE)
        claim = await turns.claim(key, wait_seconds=wait_seconds)
        if claim.turn is Turn.FAILED_ELSEWHERE:
            return NotFetched(error=FailedElsewhere(self._sources[-1].source.value))
        if claim.turn is Turn.ELSEWHERE:
            found = await self._store.find_shared(key)
            if found is not None and (held is None or found.confirmed_at > held.confirmed_at):
                return Fetched(cached=found, source=Source.REDIS)
        outcome = await self._fetch_here(key, deadline=deadline)
        await turns.done(claim, error=outcome.error.outcome if isinstance(outcome, NotFetched) else None)
        return outcome

    async def _fetch_here(self, key: EntityKey, *, deadline: float) -> Fetched | NotFetched:
        flight = self._flights[key]
        asks = 0
        while True:
            asks += 1
            flight.is_doubted = False
            asked_at = self._clock.monotonic()
            try:
                entity, source = await self._ask_in_turn(key, deadline=deadline)
            except (UpstreamError, Overloaded) as error:
                return NotFetched(error=error)
            if asks >= MAX_ASKS or not self._is_overtaken(key, asked_at):
                break
        confirmed_at = NEVER if flight.is_doubted else asked_at
        for update in self._usage_notes.take(key):
            entity = with_usage(entity, update) or entity
        cached = await self._store.store(
            key,
            CachedEntity(entity=entity, confirmed_at=confirmed_at),
            answered_at_ms=self._clock.now_ms(),
        )
        return Fetched(cached=cached, source=source)

    def _is_overtaken(self, key: EntityKey, asked_at: float) -> bool:
        """True when a change was told while the cloud was asked: the answer may be of before."""
        held = self._store.peek(key)
        return self._flights[key].is_doubted or (held is not None and held.known_since > asked_at)

    async def _ask_in_turn(self, key: EntityKey, *, deadline: float) -> tuple[Entity, Source]:
        if self._slots.locked() and self._queued >= self._limits.queue_size:
            raise Overloaded("SIDECAR_FETCH_QUEUE_SIZE")
        self._queued += 1
        metrics.FETCHES_QUEUED.set(self._queued)
        try:
            async with asyncio.timeout(deadline - self._clock.monotonic()):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Overloaded("SIDECAR_FETCH_CONCURRENCY") from error
        finally:
            self._queued -= 1
            metrics.FETCHES_QUEUED.set(self._queued)
        try:
            return await self._ask_each_source(key, deadline=deadline)
        finally:
            self._slots.release()

    def _any_circuit_closed(self) -> bool:
        """False while no source would be asked, so that an outage costs a caller no queueing either."""
        now = self._clock.monotonic()
        return any(breaker.would_allow(now) for breaker in self._breakers.values())

    def _circuit_open(self) -> CircuitOpen:
        return CircuitOpen(self._sources[-1].source.value)

    async def _ask_each_source(self, key: EntityKey, *, deadline: float) -> tuple[Entity, Source]:
        failure: UpstreamError = self._circuit_open()
        for source in self._sources:
            remaining = deadline - self._clock.monotonic()
            share = remaining if source is self._sources[-1] else remaining * FIRST_SOURCE_SHARE
            breaker = self._breakers[source.source]
            if share <= 0 or not breaker.allows(self._clock.monotonic()):
                continue
            if breaker.state is BreakerState.HALF_OPEN:
                share = min(share, PROBE_BUDGET_SECONDS)
            try:
                entity = await self._ask(source, key, budget_seconds=share)
            except UpstreamError as error:
                failure = error
                continue
            if source is self._sources[-1] or not self._lags_behind(key, entity):
                return entity, source.source
            failure = LaggingAnswer(source.source.value)
        raise failure

    def _lags_behind(self, key: EntityKey, answer: Entity) -> bool:
        """True for an answer of a cache that is older than what is known: the API's word is taken instead."""
        held = self._store.peek(key)
        return held is not None and is_outdated(answer.updated_at_ms, held.entity.updated_at_ms)

    async def _ask(self, source: EntitySource, key: EntityKey, *, budget_seconds: float) -> Entity:
        breaker = self._breakers[source.source]
        before = breaker.state
        try:
            entity = await source.fetch(key, budget_seconds=budget_seconds)
        except UpstreamError as error:
            self._note_failure(breaker, error)
            self._outages.failed(source.source, error, was=before, now=breaker.state)
            raise
        except asyncio.CancelledError:
            breaker.abandoned(self._clock.monotonic())
            raise
        breaker.succeeded()
        self._outages.answered(source.source, was=before)
        return entity

    def _note_failure(self, breaker: Breaker, error: UpstreamError) -> None:
        now = self._clock.monotonic()
        match error:
            case Rejected() | Offline():
                breaker.succeeded()
            case KeyRefused():
                breaker.trip(now, pause_seconds=KEY_REFUSED_PAUSE_SECONDS)
            case Throttled(retry_after_seconds=seconds):
                breaker.trip(now, pause_seconds=seconds or THROTTLED_PAUSE_SECONDS)
            case _:
                breaker.failed(now)
