"""A process's part among those of one Redis prefix: a pure state machine, replaced whole at each change.

One process holds the lease, follows the feed and writes every change into Redis; its lease says since when.
The others follow through Redis, which names the keys that were changed. Times are monotonic seconds.
"""

import enum
from dataclasses import dataclass, replace

from entitlements.domain.freshness import NEVER, Trust

SLEPT_SECONDS = 6.0
"""A process that did not ask for the lease for so long was stopped, or its machine was: others went on."""
SILENCE_SECONDS = 3.5
"""A leader that did not renew its lease for longer is not relied on, though the lease lasts longer."""


class Role(enum.Enum):
    """How this process learns what changes."""

    LEADER = "leader"
    """It holds the lease: it follows the feed for all."""
    STANDALONE = "standalone"
    """Redis does not answer, or there is none: it follows the feed for itself."""
    FOLLOWER = "follower"
    """Another process follows the feed and writes what changes into Redis."""


class LeaseStatus(enum.Enum):
    """Who has the lease."""

    OURS = "ours"
    """This process, until a moment that it knows."""
    OTHERS = "others"
    """Another process."""
    UNKNOWN = "unknown"
    """Redis does not answer."""


ROLES = {
    LeaseStatus.OURS: Role.LEADER,
    LeaseStatus.OTHERS: Role.FOLLOWER,
    LeaseStatus.UNKNOWN: Role.STANDALONE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderState:
    """What the lease's value says of its holder."""

    token: str
    """One process's turn as the holder; another token is another turn."""
    epoch: float | None
    """Changes whenever the leader missed something, or Redis a write of it; None while it follows nothing."""
    complete_since: float | None
    """Since when every change is in Redis, by this process's clock; None while that is not so."""
    renewed_at: float
    """When the lease was renewed, by this process's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What this process is, what it relies on, and what it can vouch for."""

    trust: Trust
    role: Role = Role.STANDALONE
    held_until: float = NEVER
    """The lease is this process's until then."""
    asked_at: float | None = None
    """When the lease was asked for last."""
    awaits_feed: bool = False
    """True until this process's feed is up again: what came before may be older than others' changes."""
    leader: LeaderState | None = None
    """Of a follower: what was last read of who leads."""
    is_tracking: bool = False
    """True while Redis names every change to this process."""
    written_since: float = NEVER
    """Of a leader: since when Redis took every write."""

    def is_leading(self, now: float) -> bool:
        """True while no other process can hold the lease; who was stopped for long does not lead any more."""
        return self.role is Role.LEADER and now < self.held_until

    def may_apply(self, now: float) -> bool:
        """True while what this process's feed brings is not older than what others may have written since."""
        is_alone = self.role is Role.STANDALONE and not self._has_slept(now)
        return not self.awaits_feed and (is_alone or self.is_leading(now))

    def followed(self, now: float) -> "Membership":
        """This process's own feed is up: from now on every change arrives."""
        return self if self._is_follower else replace(self, trust=self.trust.followed(now), awaits_feed=False)

    def lost(self, now: float) -> "Membership":
        """This process's own feed is down."""
        return self if self._is_follower else replace(self, trust=self.trust.lost(now))

    def doubted(self, now: float) -> "Membership":
        """Something was missed here, or everything changed at once."""
        return replace(self, trust=self.trust.doubted(now))

    def tracking_began(self, now: float) -> "Membership":
        """Redis names every change from now on; what it named before may have been missed."""
        tracking = replace(self, is_tracking=True, trust=replace(self.trust, tracked_since=now))
        return tracking._gap(now)._judged(now) if self._is_follower else tracking

    def tracking_ended(self, now: float) -> "Membership":
        """Redis names nothing, or not all, from now on."""
        return replace(self, is_tracking=False)._judged(now)

    def emptied(self, now: float) -> "Membership":
        """All keys were removed from Redis at once."""
        if self._is_follower:
            return self.tracking_began(now) if self.is_tracking else self
        return replace(self, written_since=now)

    def write_dropped(self, now: float) -> "Membership":
        """Redis did not take a write of this process: it does not hold every change of before."""
        return replace(self, written_since=now)

    def leased(
        self, status: LeaseStatus, *, now: float, held_until: float = NEVER, leader: LeaderState | None = None
    ) -> "Membership":
        """The lease was asked for.

        Args:
            status: who has it.
            now: the present.
            held_until: until when, where it is this process's.
            leader: what its value says, where it is another's.
        """
        role, before = ROLES[status], self.role
        asked = replace(self, role=role, held_until=held_until, asked_at=now, leader=None)
        if role is Role.FOLLOWER:
            return asked._as_follower(leader, before=self, now=now)
        if before is Role.FOLLOWER or self._has_slept(now):
            asked = replace(asked._gap(now, through_redis=False), awaits_feed=True)
        if role is Role.LEADER and (before is not Role.LEADER or self._has_slept(now)):
            return replace(asked, written_since=now)
        return asked

    @property
    def epoch(self) -> float | None:
        """Of a leader: since when every change is in Redis, by its own clock; None while that is not so."""
        return max(self.trust.since, self.written_since) if self.trust.following else None

    def complete_since(self, now: float) -> float | None:
        """Since when Redis holds every change; None when nobody knows."""
        if self.is_leading(now):
            return self.epoch
        if self._is_follower and self._is_led(now) and self.leader is not None:
            return self.leader.complete_since
        return None

    def vouch(self, confirmed_at: float, now: float) -> float:
        """Since when something in Redis can be relied on, given when it was confirmed.

        While every change is written there, what was confirmed since that began is as good as just confirmed.
        """
        since = self.complete_since(now)
        return now if since is not None and confirmed_at >= since else confirmed_at

    @property
    def _is_follower(self) -> bool:
        return self.role is Role.FOLLOWER

    def _has_slept(self, now: float) -> bool:
        """True where another may have led and followed meanwhile, unseen."""
        return self.asked_at is not None and now - self.asked_at >= SLEPT_SECONDS

    def _is_led(self, now: float) -> bool:
        leader = self.leader
        if leader is None or leader.epoch is None:
            return False
        return now - leader.renewed_at <= SILENCE_SECONDS

    def _as_follower(self, leader: LeaderState | None, *, before: "Membership", now: float) -> "Membership":
        asked = replace(self, leader=leader)
        if not self.trust.through_redis:
            asked = asked._gap(now, through_redis=True)
        elif not _is_same_turn(before.leader, leader):
            asked = asked._gap(now)
        return asked._judged(now)

    def _judged(self, now: float) -> "Membership":
        """Of a follower: whether it misses nothing."""
        if not self._is_follower:
            return self
        if not (self.is_tracking and self._is_led(now)):
            return self._gap(now) if self.trust.following else self
        return self if self.trust.following else replace(self, trust=replace(self.trust, following=True))

    def _gap(self, now: float, *, through_redis: bool | None = None) -> "Membership":
        """Nothing that is held is relied on; where Redis is tracked, that is looked at first."""
        trust = replace(
            self.trust,
            following=False,
            since=now,
            tracked_since=now if self.is_tracking else self.trust.tracked_since,
            through_redis=self.trust.through_redis if through_redis is None else through_redis,
        )
        return replace(self, trust=trust)


def _is_same_turn(before: LeaderState | None, now: LeaderState | None) -> bool:
    if before is None or now is None:
        return before is now
    return (before.token, before.epoch) == (now.token, now.epoch)
