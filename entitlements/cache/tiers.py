"""The tiers as one store: this process's memory before what several processes share.

Reads go through and fill what is faster, writes go to both; newest timestamp wins everywhere.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from entitlements.cache.memory import MemoryTier
from entitlements.domain.cached_entity import CachedEntity, merge_cached, with_failed_recheck
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate, with_usage
from entitlements.domain.freshness import NEVER
from entitlements.domain.ports import Source


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


class SharedTier(Protocol):
    """What several processes share; none of these raises because it is out of order."""

    async def get(self, key: EntityKey) -> Entity | Miss:
        """What it holds of this entity, or why it does not answer."""
        ...

    async def store(self, key: EntityKey, entity: Entity) -> None:
        """Writes what is newer than what it holds."""
        ...

    async def apply_usage(self, key: EntityKey, update: UsageUpdate) -> bool:
        """Moves one meter of a held entity; False when that did not happen."""
        ...

    async def drop(self, key: EntityKey) -> None:
        """Forgets an entity."""
        ...


def never() -> float:
    """Nothing that another process wrote is known to be confirmed, so all of it is suspect."""
    return NEVER


class Tiers:
    """An `EntityStore` of memory and, perhaps, a shared tier."""

    def __init__(
        self,
        memory: MemoryTier,
        shared: SharedTier | None = None,
        *,
        shared_confirmed_at: Callable[[], float] = never,
    ) -> None:
        """Joins the tiers.

        Args:
            memory: this process's own.
            shared: read after memory and written with it.
            shared_confirmed_at: since when (monotonic seconds) the shared tier's contents are known to be
                kept up to date; asked before each read of it.
        """
        self._memory = memory
        self._shared = shared
        self._shared_confirmed_at = shared_confirmed_at
        self._drops = 0

    def peek(self, key: EntityKey) -> CachedEntity | None:
        """What this process's memory holds, at once and from any thread."""
        return self._memory.get(key)

    async def find(self, key: EntityKey) -> tuple[CachedEntity, Source] | None:
        """What any tier holds, and which one; slower tiers fill the faster ones."""
        held = self._memory.get(key)
        if held is not None:
            return held, Source.MEMORY
        if self._shared is None:
            return None
        confirmed_at, drops = self._shared_confirmed_at(), self._drops
        entity = await self._shared.get(key)
        if isinstance(entity, Miss):
            return None
        found = CachedEntity(entity=entity, confirmed_at=confirmed_at)
        if drops == self._drops:  # else it may be what was dropped while it was read, and must not come back
            found = self._memory.update(key, lambda held: merge_cached(held, found))
        return found, Source.REDIS

    async def store(self, key: EntityKey, arrived: CachedEntity) -> CachedEntity:
        """Merges what arrived into what is held and returns what is held from now on."""
        merged = self._memory.update(key, lambda held: merge_cached(held, arrived))
        if self._shared is not None:
            await self._shared.store(key, merged.entity)
        return merged

    async def apply_usage(self, key: EntityKey, update: UsageUpdate) -> bool:
        """Moves one meter of a held entity; False when no tier holds it or all know a newer state."""
        moved_here = self._apply_usage_in_memory(key, update)
        if self._shared is None:
            return moved_here
        return await self._shared.apply_usage(key, update) or moved_here

    async def mark_recheck_failed(self, key: EntityKey, *, at: float) -> None:
        """Notes in memory that the cloud did not answer a re-check of a held entity at that moment."""
        self._memory.update(key, lambda held: None if held is None else with_failed_recheck(held, at=at))

    async def drop(self, key: EntityKey) -> None:
        """Forgets an entity in all tiers."""
        self._drops += 1
        self._memory.drop(key)
        if self._shared is not None:
            await self._shared.drop(key)

    def resources_of(self, customer_id: str) -> Sequence[EntityKey]:
        """The resources of a customer that this process's memory holds."""
        return self._memory.resources_of(customer_id)

    def _apply_usage_in_memory(self, key: EntityKey, update: UsageUpdate) -> bool:
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
