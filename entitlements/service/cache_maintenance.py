"""Evicting and refreshing what is cached, on demand: of a page, a command or a call."""

from collections.abc import Sequence

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.entity_history import Origin
from entitlements.domain.errors import InvalidRequest, Offline, UpstreamError
from entitlements.domain.ports import Clock, EntitySource, EntityStore
from entitlements.domain.reason import AccessDeniedReason


class CacheMaintenance:
    """Past every cache and circuit breaker: who asks for it wants to know what the cloud says now."""

    def __init__(self, *, api: EntitySource, store: EntityStore, clock: Clock) -> None:
        self._api = api
        self._store = store
        self._clock = clock

    async def evict(self, keys: Sequence[EntityKey]) -> Sequence[EntityKey]:
        """Forgets each in memory and in Redis, a customer with the resources that memory knows of.

        Returns:
            those that were held.
        """
        all_keys = dict.fromkeys(keys)
        for key in keys:
            if key.resource_id is None:
                all_keys |= dict.fromkeys(self._store.resources_of(key.customer_id))
        held = [key for key in all_keys if await self._store.find(key) is not None]
        for key in all_keys:
            await self._store.drop(key, origin=Origin.EVICT)
        return held

    async def refresh(self, key: EntityKey, *, budget_seconds: float) -> Entity:
        """Fetches an entity from the API, never the Edge; raises UpstreamError, and what is held stays."""
        deadline = self._clock.monotonic() + budget_seconds
        entity, is_overtaken = await self._fetch_and_store(key, deadline=deadline)
        if is_overtaken:  # its answer may be older than the change that came meanwhile
            entity, _ = await self._fetch_and_store(key, deadline=deadline)
        return entity

    async def reload(self, key: EntityKey, *, budget_seconds: float) -> bool:
        """Refreshes; True when the cloud knows the entity.

        Raises:
            InvalidRequest: the customer is not named.
        """
        if not key.customer_id:
            raise InvalidRequest("customer_id", "is empty; it must name one")
        try:
            entity = await self.refresh(key, budget_seconds=budget_seconds)
        except Offline:
            return True
        except UpstreamError:
            return False
        return entity.denied_reason in {None, AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION}

    async def _fetch_and_store(self, key: EntityKey, *, deadline: float) -> tuple[Entity, bool]:
        """What the API says, and whether a change came while it was asked."""
        asked_at = self._clock.monotonic()
        entity = await self._api.fetch(key, budget_seconds=deadline - asked_at)
        arrived = CachedEntity(entity=entity, confirmed_at=asked_at)
        held = await self._store.store(
            key, arrived, answered_at_ms=self._clock.now_ms(), origin=Origin.RELOAD
        )
        return entity, held.known_since > asked_at
