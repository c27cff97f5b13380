"""Fresh, suspect, stale: the only notion of age. Times are monotonic seconds, passed in.

While the feed is followed without a gap, what was confirmed since is fresh. After a gap, or unfollowed for
long, what is held is suspect: it still answers, and is re-checked on its next use.
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

    def followed(self, now: float) -> "Trust":
        """The feed is up: from now on every change arrives."""
        return replace(self, following=True, since=now)

    def lost(self, now: float) -> "Trust":
        """The feed is down: changes from now on are missed."""
        return replace(self, following=False, since=now if self.following else self.since)

    def doubted(self, now: float) -> "Trust":
        """Something was missed, or everything changed at once."""
        return replace(self, since=now)

    def fresh_until(self, confirmed_at: float) -> float:
        """The last moment at which an entity confirmed then is answered without a re-check; NEVER: none."""
        if confirmed_at < self.since:
            return NEVER
        return math.inf if self.following else confirmed_at + self.max_unverified_seconds


def state_of(cached: CachedEntity, *, trust: Trust, now: float) -> EntityState:
    """How far a held entity can be relied on at this moment."""
    if cached.failed_at is not None:
        return EntityState.STALE
    return EntityState.FRESH if now <= fresh_until(cached, trust=trust) else EntityState.SUSPECT


def fresh_until(cached: CachedEntity, *, trust: Trust) -> float:
    """The monotonic moment after which `state_of` no longer says fresh, as long as `trust` stays the same.

    It answers for an entity that is not stale; infinity: until something changes.
    """
    until = trust.fresh_until(cached.confirmed_at)
    if not cached.entity.features and is_unknown_customer(cached.entity):  # who may be signing up right now
        return min(until, cached.confirmed_at + UNKNOWN_CUSTOMER_SECONDS)
    return until


def is_unknown_customer(entity: Entity) -> bool:
    """True when the cloud knows no such customer, as far as it said."""
    return entity.is_empty and entity.denied_reason in {None, AccessDeniedReason.CUSTOMER_NOT_FOUND}
