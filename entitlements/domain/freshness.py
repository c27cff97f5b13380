"""Fresh, suspect, stale: the only notion of age. Times are monotonic seconds, passed in.

While the feed is followed without a gap, what was confirmed since is fresh. After a gap, or unfollowed for
long, what is held is suspect: it still answers, and is re-checked on its next use. Where another process
follows the feed and writes Redis, Redis names what changed: that is looked at there before it answers again.
"""

import enum
import math
from dataclasses import dataclass, replace

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity
from entitlements.domain.reason import AccessDeniedReason

NEVER = float("-inf")

UNKNOWN_CUSTOMER_SECONDS = 5.0
"""An unknown customer may be signing up right now: known as unknown no longer than this."""


class EntityState(enum.Enum):
    """How far an entity can be relied on."""

    FRESH = "fresh"
    """Confirmed, and every change since would have arrived."""
    SUSPECT = "suspect"
    """A change may have been missed. Left by a re-check, or by the feed replacing it."""
    STALE = "stale"
    """The cloud was asked again and did not answer: the last that is known."""
    ESTIMATE = "estimate"
    """Told of an answer and not of an entity: its usage counts reports that wait in the outbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Since when the feed can be relied on; replaced whole at each change."""

    following: bool = False
    """True while all subscriptions of the feed are acknowledged."""
    since: float = NEVER
    """Nothing confirmed before this moment is fresh: the last connect, loss, gap or mass change."""
    max_unverified_seconds: float
    """Unfollowed, what was confirmed longer ago is suspect (SIDECAR_MAX_UNVERIFIED_SECONDS)."""
    tracked_since: float = NEVER
    """Since when Redis names whatever others change there; what was looked at before is looked at again."""
    through_redis: bool = False
    """True where changes are known by what Redis names alone, as another process follows the feed."""

    def followed(self, now: float) -> "Trust":
        """The feed is up: from now on every change arrives."""
        return replace(self, following=True, since=now)

    def lost(self, now: float) -> "Trust":
        """The feed is down: changes from now on are missed."""
        return replace(self, following=False, since=now if self.following else self.since)

    def doubted(self, now: float) -> "Trust":
        """Something was missed, or everything changed at once."""
        return replace(self, since=now)

    def fresh_until(self, cached: CachedEntity) -> float:
        """The last moment at which a held entity is answered without a re-check; NEVER: none."""
        if cached.confirmed_at < self.since or cached.is_named or self.is_gone(cached):
            return NEVER
        return math.inf if self.covers(cached) else cached.confirmed_at + self.max_unverified_seconds

    def covers(self, cached: CachedEntity) -> bool:
        """True while every change of this entity is learned of."""
        return self.following and not (self.through_redis and cached.is_missing)

    def is_gone(self, cached: CachedEntity) -> bool:
        """True where somebody removed it from Redis, who may know why: the cloud has to be asked first.

        What Redis itself gave up, its memory being full, was right, and is relied on by its age as anything
        whose changes nobody names.
        """
        return self.through_redis and cached.is_missing and cached.named_at is not None and cached.is_news

    def must_look(self, cached: CachedEntity, now: float) -> bool:
        """True when it has to be looked at in Redis before it answers: it was changed there, or may be."""
        if cached.is_named:
            return True
        looked_at = NEVER if cached.looked_at is None else cached.looked_at
        if looked_at < self.tracked_since:
            return True
        is_unheard = self.through_redis and not self.following
        return is_unheard and now - max(looked_at, cached.confirmed_at) > self.max_unverified_seconds


def state_of(cached: CachedEntity, *, trust: Trust, now: float) -> EntityState:
    """How far a held entity can be relied on at this moment."""
    if cached.failed_at is not None:
        return EntityState.STALE
    return EntityState.FRESH if now <= fresh_until(cached, trust=trust) else EntityState.SUSPECT


def fresh_until(cached: CachedEntity, *, trust: Trust) -> float:
    """The monotonic moment after which `state_of` no longer says fresh, as long as `trust` stays the same.

    It answers for an entity that is not stale; infinity: until something changes.
    """
    until = trust.fresh_until(cached)
    if not cached.entity.features and is_unknown_customer(cached.entity):  # who may be signing up right now
        return min(until, cached.confirmed_at + UNKNOWN_CUSTOMER_SECONDS)
    return until


def is_unknown_customer(entity: Entity) -> bool:
    """True when the cloud knows no such customer, as far as it said."""
    return entity.is_empty and entity.denied_reason in {None, AccessDeniedReason.CUSTOMER_NOT_FOUND}
