"""An entity with how far it can be relied on, and which of two such states holds."""

from dataclasses import dataclass, field, replace

from entitlements.domain.entity import Entity, merge


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedEntity:
    """What a tier holds of one `EntityKey`."""

    entity: Entity
    confirmed_at: float
    """When the cloud was asked for it, or sent it: monotonic seconds, before the asking and not after."""
    failed_at: float | None = None
    """When the cloud was last asked again in vain, monotonic seconds; None when it answered since."""
    known_at: float | None = None
    """When its set was asked for or sent, where it was confirmed otherwise since; None: `confirmed_at`."""
    lacks_usages: bool = False
    """True where a writer left usages out, as official ones do before the first: enough for a check alone."""
    named_at: float | None = field(default=None, compare=False)
    """When Redis last named one of its keys, which somebody else had changed, monotonic seconds."""
    is_news: bool = field(default=True, compare=False)
    """False where all that was named may be keys that a Redis gave up whose memory was full."""
    looked_at: float | None = field(default=None, compare=False)
    """When this was what Redis holds: read there or written there, or looked for there in vain."""
    is_missing: bool = field(default=False, compare=False)
    """True where Redis did not have it then, or did not take it: nobody names its changes."""

    @property
    def is_named(self) -> bool:
        """True where somebody else changed it in Redis, and it was not looked at since."""
        return self.named_at is not None and (self.looked_at is None or self.looked_at <= self.named_at)

    @property
    def known_since(self) -> float:
        """What orders two sets: when the cloud was asked for it, or sent it, monotonic seconds."""
        return self.confirmed_at if self.known_at is None else self.known_at


def merge_cached(
    held: CachedEntity | None, arrived: CachedEntity, *, answered_at_ms: int | None = None
) -> CachedEntity:
    """What is held once `arrived` has come: what was asked for or sent later is newer, whatever its stamps.

    A lagging answer and a change cross like this: the cloud is asked at 1, the feed sends a change at 2, the
    answer of 1 arrives at 3. It is as of 1, so the change stays, and only newer usages are taken from it.

    Args:
        held: what is known.
        arrived: what came.
        answered_at_ms: as for `merge`.
    """
    if held is None:
        return arrived
    held_since, arrived_since = held.known_since, arrived.known_since
    known_since = max(held_since, arrived_since)
    confirmed_at = max(held.confirmed_at, arrived.confirmed_at)
    return CachedEntity(
        entity=merge(
            held.entity,
            arrived.entity,
            is_overtaken=arrived_since < held_since,
            answered_at_ms=answered_at_ms,
        ),
        confirmed_at=confirmed_at,
        failed_at=held.failed_at if arrived.confirmed_at < held.confirmed_at else None,
        known_at=None if known_since == confirmed_at else known_since,
        lacks_usages=(arrived if arrived_since >= held_since else held).lacks_usages,
        named_at=None if _is_confirmed_since_named(held, arrived) else held.named_at,
        is_news=held.is_news,
        looked_at=held.looked_at if arrived.looked_at is None else arrived.looked_at,
    )


def _is_confirmed_since_named(held: CachedEntity, arrived: CachedEntity) -> bool:
    return held.named_at is not None and arrived.confirmed_at >= held.named_at


def with_confirmation(cached: CachedEntity, *, at: float) -> CachedEntity:
    """The same, known to be right at that moment too; its place in the order stays."""
    if at <= cached.confirmed_at:
        return cached
    return replace(cached, confirmed_at=at, known_at=cached.known_since)


def with_name(held: CachedEntity, *, at: float, may_be_evicted: bool) -> CachedEntity:
    """The same, named by Redis at that moment; what was news before it was looked at stays news."""
    is_news = not may_be_evicted or (held.is_named and held.is_news)
    return replace(held, named_at=at, is_news=is_news)


def with_failed_recheck(held: CachedEntity, *, at: float) -> CachedEntity:
    """The same, marked as asked for again in vain at that moment."""
    return replace(held, failed_at=at)
