"""The tiers as one store: this process's memory before what several processes share.

Reads go through and fill what is faster, writes go to both; what was asked for or sent last wins everywhere.
"""

import asyncio
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from entitlements.background import awaited
from entitlements.cache.memory import MemoryTier
from entitlements.clock import SystemClock
from entitlements.domain.cached_entity import (
    CachedEntity,
    merge_cached,
    with_confirmation,
    with_failed_recheck,
    with_name,
)
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate, with_usage
from entitlements.domain.entity_history import NO_HISTORY, ChangeRecorder, Origin
from entitlements.domain.freshness import NEVER
from entitlements.domain.ports import ChangeListener, FetchClaim, Lookup, Source


class Miss(enum.Enum):
    """Why a shared tier does not answer."""

    ABSENT = "absent"
    """It does not hold the entity, or not all of it."""
    OUTDATED = "outdated"
    """It holds a resource of a customer that changed since."""
    JUNK = "junk"
    """What it holds cannot be used."""
    UNAVAILABLE = "unavailable"
    """It could not be asked."""


class Shared(enum.Enum):
    """What became of a write to a shared tier."""

    TAKEN = "taken"
    """It holds what was written."""
    OVERTAKEN = "overtaken"
    """It knows something newer of it, or did not need it."""
    MISSING = "missing"
    """It does not hold the entity: it does not answer, or must not, or the entity was not there."""


class SharedTier(Protocol):
    """What several processes share; none of these raises because it is out of order."""

    async def get(self, key: EntityKey, *, claim: FetchClaim | None = None) -> CachedEntity | Miss:
        """What it holds of this entity and when that was confirmed, or why not; then it may claim it."""
        ...

    async def store(self, key: EntityKey, cached: CachedEntity, *, claim: FetchClaim | None = None) -> Shared:
        """Writes what is newer than what it holds, and gives the claim back where it can."""
        ...

    async def apply_usage(self, key: EntityKey, update: UsageUpdate) -> Shared:
        """Moves one meter of a held entity."""
        ...

    async def drop(self, key: EntityKey) -> None:
        """Forgets an entity."""


@dataclass(slots=True, kw_only=True)
class _Search:
    """One read of the shared tier under way."""

    task: "asyncio.Task[CachedEntity | None]"
    is_overtaken: bool = False
    """The entity changed meanwhile: what is read may be older than that, and must not stay in memory."""
    named_at: float | None = None
    """When Redis named it meanwhile: what is read may be older, and is read again on its next use."""


def as_written(confirmed_at: float) -> float:
    """What the shared tier holds is as confirmed as it was when it was written."""
    return confirmed_at


class Tiers:
    """An `EntityStore` of memory and, perhaps, a shared tier.

    The story of a search that is overtaken. A search waits for Redis while the loop goes on; `get` may come
    from any thread, and sees memory before or after.

    1. The search reads an entity from Redis. Before its answer is here the feed sends usage, or that the
       entity is gone; `apply_usage` or `drop` does it to memory, which holds nothing yet, and to Redis.
    2. What the search brings is of before that. Put into memory it would bring back what was dropped, or show
       a meter without that usage until the next change.
    3. So both call `_overtake` before they do anything else. Whoever waits for the search gets what it found,
       as if they had asked a moment sooner; memory does not, and the next read looks into Redis again.
    4. A whole entity that is stored meanwhile needs no such mark: the merge keeps what is newer.
    5. Redis may name it meanwhile (`name`): what the search brings is looked at again on its next use.
    """

    def __init__(
        self,
        memory: MemoryTier,
        shared: SharedTier | None = None,
        *,
        vouch: Callable[[float], float] = as_written,
        listener: ChangeListener | None = None,
        history: ChangeRecorder = NO_HISTORY,
        monotonic: Callable[[], float] = SystemClock.monotonic,
    ) -> None:
        """Joins the tiers.

        Args:
            memory: this process's own.
            shared: read after memory and written with it.
            vouch: since when something read from the shared tier can be relied on (monotonic seconds), given
                when it was confirmed: later, where every change since is known to have been written there.
            listener: notified when what is held changes.
            history: what changed is noted there.
            monotonic: for when the shared tier was looked at.
        """
        self._memory = memory
        self._shared = shared
        self._vouch = vouch
        self._listener = listener
        self._history = history
        self._monotonic = monotonic
        self._searches: dict[EntityKey, _Search] = {}

    def holds(self, key: EntityKey) -> bool:
        """True where memory holds it or will in a moment; asked from any thread, and no use of it."""
        return self._memory.peek(key) is not None or key in self._searches

    def holds_resources_of(self, customer_id: str) -> bool:
        """True where memory holds some; asked from any thread."""
        return self._memory.holds_resources_of(customer_id)

    def name(self, key: EntityKey, *, may_be_evicted: bool = False) -> None:
        """Has it looked at again on its next use: it was changed in the shared tier, or given up there."""
        now = self._monotonic()
        if key in self._searches:
            self._searches[key].named_at = now
        self._memory.update(key, lambda held: held and with_name(held, at=now, may_be_evicted=may_be_evicted))

    def get(self, key: EntityKey) -> CachedEntity | None:
        """What this process's memory holds, at once and from any thread."""
        return self._memory.get(key)

    async def find(self, key: EntityKey) -> Lookup | None:
        """What any tier holds, and which one; slower tiers fill the faster ones."""
        held = self._memory.get(key)
        if held is not None:
            return Lookup(key=key, cached=held, source=Source.MEMORY)
        found = None if self._shared is None else await self.find_shared(key)
        return None if found is None else Lookup(key=key, cached=found, source=Source.REDIS)

    async def find_shared(self, key: EntityKey, claim: FetchClaim | None = None) -> CachedEntity | None:
        """What the shared tier holds, merged into memory; one read, and claim, however many ask at a time."""
        if self._shared is None:
            return None
        search = self._searches.get(key)
        if search is None:
            task = awaited(self._search(key, self._shared, claim), name="search")
            search = self._searches[key] = _Search(task=task)
            task.add_done_callback(lambda _: self._searches.pop(key))
        return await asyncio.shield(search.task)

    async def store(
        self,
        key: EntityKey,
        arrived: CachedEntity,
        *,
        answered_at_ms: int | None = None,
        claim: FetchClaim | None = None,
        origin: Origin = Origin.FETCH,
    ) -> CachedEntity:
        """Merges what arrived into what is held and returns what is held from now on.

        What is in doubt already is not written for others: for them it would look confirmed.
        """
        before = self._memory.peek(key)
        if self._shared is not None and arrived.confirmed_at != NEVER:
            arrived = replace(arrived, looked_at=self._monotonic())  # as it will be there
        merged = self._memory.update(
            key, lambda held: merge_cached(held, arrived, answered_at_ms=answered_at_ms)
        )
        if before is not None:
            self._note_change(key, before, merged)
        self._history.note(key, _entity_of(before), merged.entity, origin)
        if self._shared is not None and arrived.confirmed_at != NEVER:
            self._note_outcome(key, await self._shared.store(key, merged, claim=claim))
        return merged

    async def apply_usage(
        self,
        key: EntityKey,
        update: UsageUpdate,
        *,
        only_here: bool = False,
        origin: Origin = Origin.FEED,
    ) -> bool:
        """Moves one meter of a held entity; False when no tier holds it or all know a newer state."""
        self._overtake(key)
        before = self._memory.peek(key)
        moved_here = self._apply_usage_in_memory(key, update)
        if moved_here:
            self._history.note(key, _entity_of(before), _entity_of(self._memory.peek(key)), origin)
        if moved_here and self._listener is not None:
            self._listener.changed(key)
        if self._shared is None or only_here:
            return moved_here
        outcome = await self._shared.apply_usage(key, update)
        self._note_outcome(key, outcome)
        return moved_here or outcome is Shared.TAKEN

    async def mark_recheck_failed(self, key: EntityKey, *, at: float) -> None:
        """Notes in memory that the cloud did not answer a re-check of a held entity at that moment."""
        self._memory.update(key, lambda held: None if held is None else with_failed_recheck(held, at=at))

    async def drop(self, key: EntityKey, *, origin: Origin = Origin.FEED) -> None:
        """Forgets an entity in all tiers."""
        self._overtake(key)
        self._history.note(key, _entity_of(self._memory.peek(key)), None, origin)
        self._memory.drop(key)
        if self._shared is not None:
            await self._shared.drop(key)

    def resources_of(self, customer_id: str) -> Sequence[EntityKey]:
        """The resources of a customer that this process's memory holds."""
        return self._memory.resources_of(customer_id)

    async def _search(
        self, key: EntityKey, shared: SharedTier, claim: FetchClaim | None
    ) -> CachedEntity | None:
        looked_at = self._monotonic()
        found = await shared.get(key, claim=claim)
        if isinstance(found, Miss):
            self._note_missing(key, looked_at=looked_at)
            return None
        vouched_at = self._vouch(found.confirmed_at)
        search = self._searches[key]
        if search.is_overtaken:
            return with_confirmation(found, at=vouched_at)
        before = self._memory.peek(key)
        merged = self._memory.update(
            key,
            lambda held: replace(
                with_confirmation(merge_cached(held, found), at=vouched_at),
                looked_at=looked_at,
                named_at=search.named_at,
                is_news=True,
                is_missing=False,
            ),
        )
        self._history.note(key, _entity_of(before), merged.entity, Origin.REDIS)
        return merged

    def _note_missing(self, key: EntityKey, *, looked_at: float) -> None:
        """Nobody names the changes of what the shared tier does not hold."""
        self._memory.update(key, lambda held: held and replace(held, looked_at=looked_at, is_missing=True))

    def _note_outcome(self, key: EntityKey, outcome: Shared) -> None:
        """What was written is not as it is in the shared tier, where that knows more, or nothing."""
        if outcome is Shared.MISSING:
            self._note_missing(key, looked_at=self._monotonic())
        elif outcome is Shared.OVERTAKEN:
            self.name(key)

    def _note_change(self, key: EntityKey, before: CachedEntity, now: CachedEntity) -> None:
        """Tells the listener where what is held differs; they are compared only where somebody cares."""
        listener = self._listener
        if listener and listener.is_watched(key.customer_id) and before.entity != now.entity:
            listener.changed(key)

    def _overtake(self, key: EntityKey) -> None:
        if key in self._searches:
            self._searches[key].is_overtaken = True

    def _apply_usage_in_memory(self, key: EntityKey, update: UsageUpdate) -> bool:
        if self._memory.peek(key) is None:  # as nearly all are in a large environment; only the loop adds
            return False
        moved = False

        def move(held: CachedEntity | None) -> CachedEntity | None:
            nonlocal moved
            entity = None if held is None else with_usage(held.entity, update)
            if held is None or entity is None:
                return held
            moved = True
            return replace(held, entity=entity)

        self._memory.update(key, move)
        return moved


def _entity_of(cached: CachedEntity | None) -> Entity | None:
    return None if cached is None else cached.entity
