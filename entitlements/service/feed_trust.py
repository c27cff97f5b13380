"""What this process relies on when it reads: holds the `Membership` in force, which others move."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from entitlements import metrics
from entitlements.domain.freshness import NEVER, Trust
from entitlements.domain.gap import Gap, GapLog, longest_spread
from entitlements.domain.membership import Membership, Role
from entitlements.domain.ports import Clock


class FeedTrust:
    """Whoever reads `trust` on any thread sees one state or the next; all else belongs to the event loop."""

    def __init__(
        self,
        *,
        max_unverified_seconds: float,
        clock: Clock,
        role: Role = Role.STANDALONE,
        dropped_writes: Callable[[], int] = lambda: 0,
    ) -> None:
        """Relies on nothing yet.

        Args:
            max_unverified_seconds: SIDECAR_MAX_UNVERIFIED_SECONDS.
            clock: for the present.
            role: until the lease was asked for.
            dropped_writes: the number of writes that Redis did not take so far.
        """
        self.trust = Trust(max_unverified_seconds=max_unverified_seconds)
        self._membership = Membership(trust=self.trust, role=role)
        self._clock = clock
        self._dropped_writes = dropped_writes
        self._dropped_before = 0
        self._feed_gaps = GapLog(max_unverified_seconds=max_unverified_seconds)
        self._redis_gaps = GapLog(max_unverified_seconds=max_unverified_seconds)
        if role is not Role.STANDALONE:  # what Redis holds was perhaps changed before this start
            self._redis_gaps.note(is_well=False, now=NEVER)
            self._redis_gaps.note(is_well=True, now=clock.monotonic())
        self.lease_wanted = asyncio.Event()
        """Set when there is something to write into the lease, or to read in it, before its time."""

    @property
    def membership(self) -> Membership:
        """The state in force."""
        dropped = self._dropped_writes()
        if dropped != self._dropped_before:
            self._dropped_before = dropped
            self._membership = self._membership.write_dropped(self._clock.monotonic())
            self.lease_wanted.set()
        return self._membership

    @property
    def last_gap(self) -> Gap:
        """When changes were missed, or Redis was away, last: what is held was not known to be right then."""
        return longest_spread((self._feed_gaps.last, self._redis_gaps.last))

    def move(self, change: Callable[[Membership, float], Membership]) -> Membership:
        """Replaces the state by what `change` makes of it and the present; returns the one of before."""
        before, now = self.membership, self._clock.monotonic()
        self._membership = change(before, now)
        self.trust = self._membership.trust
        self._note_gaps(before, now)
        metrics.FEED_CONNECTED.set(self.trust.following)
        if self._membership.epoch != before.epoch:
            self.lease_wanted.set()
        return before

    def _note_gaps(self, before: Membership, now: float) -> None:
        """Before its first connection the feed was not lost; who is alone without a Redis misses none."""
        if before.trust.following or self.trust.following:
            self._feed_gaps.note(is_well=self.trust.following, now=now)
        if before.role is not self._membership.role:
            self._redis_gaps.note(is_well=self._membership.role is not Role.STANDALONE, now=now)

    def end_replies(self) -> None:
        """Ends every remembered reply, as each stands with the very trust that it was made in."""
        self.trust = replace(self.trust)
        self._membership = replace(self._membership, trust=self.trust)

    def vouch(self, confirmed_at: float) -> float:
        """Since when something in Redis can be relied on, given when it was confirmed (monotonic seconds)."""
        return self.membership.vouch(confirmed_at, self._clock.monotonic())
