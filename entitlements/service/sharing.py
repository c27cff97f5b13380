"""One process follows the feed for all: what the leader publishes, and what its followers make of it.

The leader applies a change to Redis first and publishes it then. Followers apply it to their memory only.
A message that is missed shows by its number, a lost leader by its silence: both are gaps.
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
"""The leader's heartbeat, also when nothing changes."""
SILENCE_SECONDS = 3.5
"""A leader that is silent for longer is lost."""


class Role(enum.Enum):
    """How this process learns what changes."""

    LEADER = "leader"
    """It holds the lease: it follows the feed for all."""
    STANDALONE = "standalone"
    """Redis does not answer: it follows the feed for itself."""
    FOLLOWER = "follower"
    """Another process follows the feed and publishes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedMessage:
    """What the leader publishes."""

    sender: str
    """One process's turn as the holder; another sender is another turn."""
    number: int
    """The number of changes that this sender has published, this one included; its own gaps count too."""
    is_following: bool
    """False while it misses changes itself."""
    kept_seconds: float | None
    """For so long every change has been written to Redis; None when that is not so."""
    subscription: str | None = None
    frame: str | None = None
    """One change, as the feed sent it; None in a mere heartbeat."""


def feed_message_from(data: Mapping[str, object]) -> FeedMessage | None:
    """The leader's message in one of the channel layer; None when it is none: anybody can write to Redis."""
    match data:
        case {
            "sender": str() as sender,
            "number": int() as number,
            "is_following": bool() as is_following,
            "kept_seconds": (float() | None) as kept_seconds,
            "subscription": (str() | None) as subscription,
            "frame": (str() | None) as frame,
        }:
            return FeedMessage(
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
        self._sent_trust_since = feed_applier.trust.since
        self._message = _first_message("")
        self._received_at = float("-inf")
        self._log = RateLimitedLog(logger, clock.monotonic)

    def take_role(self, role: Role) -> None:
        """Leads, follows or stands alone from now on; a change of role is a gap."""
        if role is self.role:
            return
        if Role.FOLLOWER in {role, self.role}:
            self._feed_applier.lost()
        if role is Role.LEADER:
            self._message = _first_message(secrets.token_hex(8))
            self._completeness.lead()
        else:
            self._completeness.follow(None)
        self.role = role

    def heartbeat(self) -> FeedMessage:
        """What the leader publishes when nothing changes."""
        kept_since = self._completeness.since()
        gaps = 0 if self._feed_applier.trust.since == self._sent_trust_since else 1
        self._sent_trust_since = self._feed_applier.trust.since
        self._message = replace(
            self._message,
            number=self._message.number + gaps,
            is_following=self._feed_applier.trust.following,
            kept_seconds=None if kept_since is None else self._clock.monotonic() - kept_since,
            subscription=None,
            frame=None,
        )
        return self._message

    def change(self, subscription: str, frame: str) -> FeedMessage:
        """What the leader publishes of a change that it has applied."""
        self._message = replace(self._message, number=self._message.number + 1)
        return replace(self.heartbeat(), subscription=subscription, frame=frame)

    def receive(self, message: FeedMessage) -> bool:
        """Takes in what the leader publishes; True when its change is to be applied."""
        if self.role is not Role.FOLLOWER:
            return False
        before, self._message, self._received_at = self._message, message, self._clock.monotonic()
        kept_seconds = message.kept_seconds
        self._completeness.follow(None if kept_seconds is None else self._received_at - kept_seconds)
        added = 0 if message.frame is None else 1
        is_next = message.sender == before.sender and message.number == before.number + added
        if not message.is_following:
            self._feed_applier.lost()
        elif not self._feed_applier.trust.following or message.sender != before.sender:
            self._feed_applier.followed()
        elif not is_next:
            self._feed_applier.missed("lost_message")
        return message.frame is not None

    def lose_silent_leader(self) -> None:
        """Notes a gap when the leader has been silent for too long."""
        is_silent = self._clock.monotonic() - self._received_at > SILENCE_SECONDS
        if self.role is Role.FOLLOWER and is_silent and self._feed_applier.trust.following:
            self._log.warning(
                "silent",
                "the feed's leader is silent; what is cached is checked again on use",
            )
            self._feed_applier.lost()


def _first_message(sender: str) -> FeedMessage:
    return FeedMessage(sender=sender, number=0, is_following=False, kept_seconds=None)
