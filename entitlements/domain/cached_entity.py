"""An entity with how far it can be relied on, and which of two such states holds."""

from dataclasses import dataclass, replace

from entitlements.domain.entitlement import NO_TIMESTAMP_MS
from entitlements.domain.entity import Entity, merge


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedEntity:
    """What a tier holds of one `EntityKey`."""

    entity: Entity
    confirmed_at: float
    """When the cloud was asked for it, or told it: monotonic seconds, before the asking and not after."""
    failed_at: float | None = None
    """When the cloud was last asked again in vain, monotonic seconds; None when it answered since."""


def merge_cached(held: CachedEntity | None, arrived: CachedEntity) -> CachedEntity:
    """What is held once `arrived` has come: newest timestamp wins, and the latest confirmation counts.

    Where the cloud gave no timestamp, what was asked for or told later is the newer.
    """
    if held is None:
        return arrived
    if _arrived_is_unstamped_and_earlier(held, arrived):
        return held
    return CachedEntity(
        entity=merge(held.entity, arrived.entity),
        confirmed_at=max(held.confirmed_at, arrived.confirmed_at),
        failed_at=held.failed_at if arrived.confirmed_at < held.confirmed_at else None,
    )


def with_failed_recheck(held: CachedEntity, *, at: float) -> CachedEntity:
    """The same, marked as asked for again in vain at that moment."""
    return replace(held, failed_at=at)


def _arrived_is_unstamped_and_earlier(held: CachedEntity, arrived: CachedEntity) -> bool:
    unstamped = NO_TIMESTAMP_MS in {held.entity.updated_at_ms, arrived.entity.updated_at_ms}
    return unstamped and arrived.confirmed_at < held.confirmed_at
