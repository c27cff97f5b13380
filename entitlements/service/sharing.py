"""One process follows the feed for all: what it tells the others, and what they make of it.

The holder of the lease applies a change to Redis first and tells it then. The others apply it to their memory
only. Whoever misses a word knows it by its number, and whoever hears nothing, by the silence: both are gaps.
"""

import enum
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from entitlements.domain.ports import Clock
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.service.completeness import SharedCompleteness
from entitlements.service.feed_applier import FeedApplier

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
"""So often the holder says that it is there, also when nothing changes."""
SILENCE_SECONDS = 3.5
"""A holder that is not heard for longer is lost."""


class Role(enum.Enum):
    """How this process learns what changes."""

    LEADER = "leader"
    """It holds the lease: it follows the feed for all."""
    STANDALONE = "standalone"
    """Redis does not answer: it follows the feed for itself."""
    FOLLOWER = "follower"
    """Another process follows the feed and tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What the holder of the lease tells the others."""

    sender: str
    """One process's turn as the holder; another sender is another turn."""
    number: int
    """How many changes this sender has told, this one included; its own gaps count too."""
    is_following: bool
    """False while it misses changes itself."""
    kept_seconds: float | None
    """For so long every change has been written to Redis; None when that is not so."""
    subscription: str | None = None
    frame: str | None = None
    """One change, as the feed told it; None in a mere sign of life."""


def word_of(message: Mapping[str, object]) -> Word | None:
    """The word in a message of the channel layer; None when it is none: anybody can write to Redis."""
    match message:
        case {
            "sender": str() as sender,
            "number": int() as number,
            "is_following": bool() as is_following,
            "kept_seconds": (float() | None) as kept_seconds,
            "subscription": (str() | None) as subscription,
            "frame": (str() | None) as frame,
        }:
            return Word(
                sender=sender,
                number=number,
                is_following=is_following,
                kept_seconds=kept_seconds,
                subscription=subscription,
                frame=frame,
            )
        case _:
            return None


class Sharing:
    """This process's part among those of one Redis prefix."""

    def __init__(self, *, feed_applier: FeedApplier, completeness: SharedCompleteness, clock: Clock) -> None:
        """Starts as a follower.

        Args:
            feed_applier: learns of every gap.
            completeness: learns who keeps Redis complete.
            clock: for silences.
        """
        self.role = Role.FOLLOWER
        self._feed_applier = feed_applier
        self._clock = clock
        self._completeness = completeness
        self._told_since = feed_applier.trust.since
        self._word = Word(sender="", number=0, is_following=False, kept_seconds=None)
        self._received_at = float("-inf")
        self._log = RateLimitedLog(logger, clock.monotonic)

    def take_role(self, role: Role) -> None:
        """Leads, follows for itself, or hears from now on; a change of role is a gap."""
        if role is self.role:
            return
        if Role.FOLLOWER in {role, self.role}:
            self._feed_applier.lost()
        if role is Role.LEADER:
            self._word = Word(sender=secrets.token_hex(8), number=0, is_following=False, kept_seconds=None)
            self._completeness.lead()
        else:
            self._completeness.follow(None)
        self.role = role

    def sign_of_life(self) -> Word:
        """What the holder says when there is nothing else to say."""
        kept_since = self._completeness.since()
        gaps = 0 if self._feed_applier.trust.since == self._told_since else 1
        self._told_since = self._feed_applier.trust.since
        self._word = replace(
            self._word,
            number=self._word.number + gaps,
            is_following=self._feed_applier.trust.following,
            kept_seconds=None if kept_since is None else self._clock.monotonic() - kept_since,
            subscription=None,
            frame=None,
        )
        return self._word

    def change(self, subscription: str, frame: str) -> Word:
        """What the holder says of a change that it has applied."""
        self._word = replace(self._word, number=self._word.number + 1)
        return replace(self.sign_of_life(), subscription=subscription, frame=frame)

    def receive(self, word: Word) -> bool:
        """Takes in what the holder says; True when its change is to be applied."""
        if self.role is not Role.FOLLOWER:
            return False
        before, self._word, self._received_at = self._word, word, self._clock.monotonic()
        kept_seconds = word.kept_seconds
        self._completeness.follow(None if kept_seconds is None else self._received_at - kept_seconds)
        is_next = word.sender == before.sender and word.number - before.number == (word.frame is not None)
        if not word.is_following:
            self._feed_applier.lost()
        elif not self._feed_applier.trust.following or word.sender != before.sender:
            self._feed_applier.followed()
        elif not is_next:
            self._feed_applier.missed("lost_message")
        return word.frame is not None

    def lose_silent_holder(self) -> None:
        """Notes a gap when the holder has been silent for too long."""
        is_silent = self._clock.monotonic() - self._received_at > SILENCE_SECONDS
        if self.role is Role.FOLLOWER and is_silent and self._feed_applier.trust.following:
            self._log.warning(
                "silent",
                "the process that follows the feed is not heard; what is cached is checked again on use",
            )
            self._feed_applier.lost()
