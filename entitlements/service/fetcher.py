"""One fetch per entity however many wait for it, one budget, Edge then GraphQL."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from entitlements import metrics
from entitlements.background import awaited, ended
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate, with_usage
from entitlements.domain.entity_history import Origin
from entitlements.domain.errors import (
    Busy,
    CircuitOpen,
    FailedElsewhere,
    KeyRefused,
    Offline,
    Overloaded,
    Rejected,
    UpstreamError,
)
from entitlements.domain.freshness import NEVER
from entitlements.domain.ports import (
    Clock,
    EntitySource,
    EntityStore,
    FetchClaim,
    FetchCoordinator,
    FetchLockOutcome,
    LastKnown,
    Lookup,
    Source,
)
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.service.circuits import Circuits
from entitlements.service.flight import Flight, NotFetched
from entitlements.service.resting import RestingEntities
from entitlements.service.source_chain import FetchLimits, SourceChain
from entitlements.service.usage_notes import UsageNotes

logger = logging.getLogger(__name__)

TURN_SECONDS = 2.0
"""So long a fetch waits for another process that fetches the same entity; then it fetches as well."""
TURN_SHARE = 0.4
"""Of its budget it waits no larger part, so that it can still fetch."""
LONELY_SECONDS = 2.0
"""A fetch that nobody waits for any more ends so long after it began to ask: it is nearly done, or hangs."""
MAX_ASKS = 3
"""So often the cloud is asked anew because of a change meanwhile; then its answer is suspect, or loses."""
LOOKS = 2
"""What another process has stored is looked for so often: a read that is under way may be of before."""
CALLERS_OF_A_BURST = 10
"""How many callers that join one fetch are named in the log."""


class EntityFetcher:
    """Fetches entities and keeps what it fetched.

    The story of a change that overtakes a fetch. All of this runs on the event loop, and at every `await`
    something else may come between.

    1. The first caller begins a flight, the others join it. Each waits behind a shield: one that goes away
       ends its own waiting and nobody else's. Who comes in the turn after its end gets its outcome, too.
    2. While the cloud is asked the feed may change the same entity. What it brings whole is stored at once,
       and is known since later than `asked_at`; where it takes something away, it calls `doubt`.
    3. So the answer may be of before that. `_is_overtaken` looks for both, and the cloud is asked anew.
    4. Under a steady stream of changes that would never end: after `MAX_ASKS` the answer is stored, suspect
       where it was doubted, so that its next use asks again. Else the merge keeps what is newer.
    5. Usage that arrives meanwhile, of an entity that nobody holds yet, has no meter to move: it is noted,
       and put into the answer before that is stored.
    """

    def __init__(  # noqa: PLR0913 - each a part of its own
        self,
        *,
        sources: Sequence[EntitySource],
        circuits: Circuits,
        store: EntityStore,
        clock: Clock,
        limits: FetchLimits,
        turns: FetchCoordinator | None = None,
        prepare: Callable[[], None] | None = None,
        last_known: LastKnown | None = None,
    ) -> None:
        """Fetches from the sources, in this order.

        Args:
            sources: asked one after the other.
            circuits: theirs.
            store: keeps what was fetched.
            clock: for the budget.
            limits: the bounds.
            turns: for one fetch among all processes.
            prepare: called as a fetch begins that will wait for its turn, and then ask a source.
            last_known: where nobody answers and nothing is held.
        """
        self._last_known = last_known
        self._turns = turns
        self._prepare = prepare
        self._circuits = circuits
        self._chain = SourceChain(sources=sources, circuits=circuits, store=store, clock=clock, limits=limits)
        self._authority = sources[-1].source.value
        self._resting = RestingEntities(clock.monotonic)
        self._store = store
        self._clock = clock
        self._limits = limits
        self._flights: dict[EntityKey, Flight] = {}
        self._usage_notes = UsageNotes()
        self._log = RateLimitedLog(logger, clock.monotonic)
        self.joined = 0
        """How many callers waited for a fetch that another had begun."""

    @property
    def resting(self) -> int:
        """How many entities are not asked about for a moment, since that failed."""
        return self._resting.count()

    @property
    def under_way(self) -> int:
        """How many entities are being fetched."""
        return len(self._flights)

    async def stop(self) -> None:
        """Gives up every fetch under way."""
        await ended(*(flight.task for flight in self._flights.values()))

    async def find(self, key: EntityKey) -> Lookup | NotFetched:
        """The entity as processes share it, in Redis; else as `fetch`."""
        return await self._landed(key, self._flight_of(key, Origin.FETCH, looks=True))

    async def fetch(self, key: EntityKey, *, origin: Origin = Origin.FETCH) -> Lookup | NotFetched:
        """The entity from the cloud, merged into what is held; joins a fetch that is under way."""
        while True:
            flight = self._flight_of(key, origin, looks=False)
            outcome = await self._landed(key, flight)
            if not flight.has_found:
                return outcome

    def _flight_of(self, key: EntityKey, origin: Origin, *, looks: bool) -> Flight:
        flight = self._flights.get(key)
        if flight is None:
            task = awaited(self._fly(key), name="fetch")
            flight = self._flights[key] = Flight(task=task, origin=origin, looks=looks)
            task.add_done_callback(partial(self._land, key, flight))
        else:
            self._join(key, flight)
        return flight

    async def _landed(self, key: EntityKey, flight: Flight) -> Lookup | NotFetched:
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._left_alone(key, flight)

    async def ask(self, key: EntityKey) -> Entity:
        """What the cloud says of it at this moment, which is not kept; raises as `SourceChain.ask` does."""
        deadline = self._clock.monotonic() + self._limits.budget_seconds
        return (await self._chain.ask(key, deadline=deadline, on_begin=lambda _: None))[0]

    def _left_alone(self, key: EntityKey, flight: Flight) -> None:
        """Ends a fetch that nobody waits for: at once if it has not begun, else when it had its time."""
        seconds = 0.0
        if flight.asked_at is not None:
            seconds = max(LONELY_SECONDS - (self._clock.monotonic() - flight.asked_at), 0)
        asyncio.get_running_loop().call_later(seconds, self._end_if_alone, key, flight)

    def _end_if_alone(self, key: EntityKey, flight: Flight) -> None:
        if not flight.waiting:
            self._land(key, flight)  # who comes before it has ended begins another
            flight.task.cancel()

    def _land(self, key: EntityKey, flight: Flight, _: object = None) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _join(self, key: EntityKey, flight: Flight) -> None:
        self._chain.join(key)
        flight.joined += 1
        self.joined += 1
        metrics.FETCHES_JOINED.inc()
        if flight.joined == CALLERS_OF_A_BURST:
            self._log.info("burst", "many calls wait for one fetch")

    def is_fetching(self, key: EntityKey) -> bool:
        """True while a fetch of this entity is under way."""
        return key in self._flights

    def doubt(self, key: EntityKey) -> None:
        """Lets a fetch under way end in a suspect entity: its answer may be older than what the feed sent."""
        self._resting.wake(key)
        if key in self._flights:
            self._flights[key].is_doubted = True

    def note_usage(self, key: EntityKey, update: UsageUpdate) -> None:
        """Has the next entity that is fetched under this key show this usage, unless it knows a newer one."""
        self._usage_notes.note(key, update)

    async def _fly(self, key: EntityKey) -> Lookup | NotFetched:
        outcome = await self._fly_to_the_cloud(key)
        if isinstance(outcome, Lookup) or isinstance(outcome.error, Rejected):
            return outcome
        return await self._remembered(key) or outcome

    async def _remembered(self, key: EntityKey) -> Lookup | None:
        """What was known before this process began; stale from the start."""
        if self._last_known is None or self._store.get(key) is not None:
            return None
        entity = self._last_known.get(key)
        if entity is None:
            return None
        cached = CachedEntity(entity=entity, confirmed_at=NEVER, failed_at=self._clock.monotonic())
        cached = await self._store.store(key, cached, origin=Origin.SNAPSHOT)
        return Lookup(key=key, cached=cached, source=Source.SNAPSHOT)

    async def _fly_to_the_cloud(self, key: EntityKey) -> Lookup | NotFetched:
        deadline = self._clock.monotonic() + self._limits.budget_seconds
        error = self._resting.error_of(key)
        if error is None and not self._circuits.any_would_allow():
            error = self._chain.circuit_open()
        if error is None and self._turns is not None:
            return await self._fetch_in_turn(key, self._turns, deadline=deadline)
        found = await self._store.find_shared(key) if self._flights[key].looks else None
        if found is not None:
            return self._has_found(key, found)
        return await self._fetch_here(key, deadline=deadline) if error is None else NotFetched(error=error)

    def _has_found(self, key: EntityKey, found: CachedEntity) -> Lookup:
        self._flights[key].has_found = True
        return Lookup(key=key, cached=found, source=Source.REDIS)

    async def _fetch_in_turn(
        self, key: EntityKey, turns: FetchCoordinator, *, deadline: float
    ) -> Lookup | NotFetched:
        """Fetches, unless another process does so at this moment: then what it found is shared."""
        held = self._store.get(key)
        wait_seconds = min(TURN_SECONDS, self._limits.budget_seconds * TURN_SHARE)
        look = partial(self._store.find_shared, key) if self._flights[key].looks else None
        if look is None and self._prepare is not None:
            self._prepare()
        claim = await turns.claim(key, wait_seconds=wait_seconds, look=look)
        if claim.found is not None:
            return self._has_found(key, claim.found)
        if claim.turn is FetchLockOutcome.FAILED_ELSEWHERE:
            return NotFetched(error=FailedElsewhere(self._authority))
        if claim.may_be_answered(held):
            for _ in range(LOOKS):
                found = await self._store.find_shared(key)
                if found and claim.is_answered(found, held, since=deadline - 2 * self._limits.budget_seconds):
                    await turns.done(claim)
                    return Lookup(key=key, cached=found, source=Source.REDIS)
        outcome = await self._fetch_here(key, deadline=deadline, claim=claim if claim.token else None)
        await turns.done(claim, error=outcome.error.outcome if isinstance(outcome, NotFetched) else None)
        return outcome

    async def _fetch_here(
        self, key: EntityKey, *, deadline: float, claim: FetchClaim | None = None
    ) -> Lookup | NotFetched:
        flight = self._flights[key]
        asks = 0
        while True:
            asks += 1
            flight.is_doubted = False
            asked_at = self._clock.monotonic()
            try:
                entity, source = await self._chain.ask(key, deadline=deadline, on_begin=flight.begun)
            except Overloaded as error:
                return NotFetched(error=error)
            except UpstreamError as error:
                if _may_rest(error):
                    self._resting.rest(key, error)
                return NotFetched(error=error)
            if asks >= MAX_ASKS or not self._is_overtaken(key, asked_at):
                break
        self._resting.wake(key)
        confirmed_at = NEVER if flight.is_doubted else asked_at
        for update in self._usage_notes.take(key):
            entity = with_usage(entity, update) or entity
        cached = await self._store.store(
            key,
            CachedEntity(entity=entity, confirmed_at=confirmed_at),
            answered_at_ms=self._clock.now_ms(),
            claim=claim,
            origin=flight.origin,
        )
        return Lookup(key=key, cached=cached, source=source)

    def _is_overtaken(self, key: EntityKey, asked_at: float) -> bool:
        """True when a change arrived while the cloud was asked: the answer may be of before."""
        held = self._store.get(key)
        return self._flights[key].is_doubted or (held is not None and held.known_since > asked_at)


def _may_rest(error: UpstreamError) -> bool:
    """True for what the cloud did about an entity: nobody was asked for the others."""
    return not isinstance(error, CircuitOpen | FailedElsewhere | Busy | Offline | KeyRefused)
