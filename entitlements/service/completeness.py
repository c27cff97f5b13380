"""What this process relies on when it reads: since when it, and since when Redis, misses no change.

Both are made before the tiers, which ask them; the feed and the leader's messages move them.
"""

from collections.abc import Callable
from dataclasses import replace

from entitlements.domain.freshness import Trust
from entitlements.domain.ports import Clock, Trusted


class FeedTrust:
    """Holds the `Trust` in force; whoever reads it on any thread sees one state or the next."""

    def __init__(self, *, max_unverified_seconds: float) -> None:
        self.trust = Trust(max_unverified_seconds=max_unverified_seconds)

    def end_replies(self) -> None:
        """Ends every remembered reply, as each stands with the very trust that it was made in."""
        self.trust = replace(self.trust)


class SharedCompleteness:
    """Since when every change is in Redis: what was confirmed there since is as good as just confirmed."""

    def __init__(self, *, feed: Trusted, clock: Clock, dropped_writes: Callable[[], int]) -> None:
        """Vouches for nothing until somebody leads.

        Args:
            feed: whether changes arrive here at all.
            clock: for the present.
            dropped_writes: the number of writes that Redis did not take so far.
        """
        self._feed = feed
        self._clock = clock
        self._dropped_writes = dropped_writes
        self._dropped_before = 0
        self._is_leader = False
        self._complete_since: float | None = None

    def lead(self) -> None:
        """This process writes every change there from now on."""
        self._is_leader, self._complete_since = True, self._clock.monotonic()

    def follow(self, since: float | None) -> None:
        """Another process writes there, or nobody does; `since` as it says (monotonic seconds)."""
        self._is_leader, self._complete_since = False, since

    def since(self) -> float | None:
        """Since when Redis holds every change (monotonic seconds); None when it does not."""
        if self._complete_since is None or not self._feed.trust.following:
            return None
        if not self._is_leader:
            return self._complete_since
        self._note_dropped_writes()
        return max(self._feed.trust.since, self._complete_since)

    def vouch(self, confirmed_at: float) -> float:
        """Since when something in Redis can be relied on, given when it was confirmed (monotonic seconds).

        While every change is written there, what was confirmed since that began is as good as just confirmed.
        """
        since = self.since()
        if since is not None and confirmed_at >= since:
            return self._clock.monotonic()
        return confirmed_at

    def _note_dropped_writes(self) -> None:
        dropped = self._dropped_writes()
        if dropped != self._dropped_before:
            self._dropped_before = dropped
            self._complete_since = self._clock.monotonic()
