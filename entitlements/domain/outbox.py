"""What waits to be delivered to the cloud, and what the cloud refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from entitlements.domain.usage import UsageEvent, UsageReport

Write: TypeAlias = UsageEvent | UsageReport
KEY_MEMORY_MS = 7 * 24 * 3600 * 1000 - 3600 * 1000
"""The cloud remembers keys for seven days (contract/upstream.md); an hour before, sending ends."""
TOO_OLD = "it waited for seven days: the cloud may have forgotten its key, and would count it twice"
"""The reason of a dead letter that may have been delivered. It is kept in outboxes, so it must not change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEntry:
    """A write that a caller was promised; it keeps its timestamp and its idempotency key."""

    id: str
    """Its name in the outbox, for people and for settling it."""
    write: Write
    accepted_at_ms: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An entry that the cloud refused, kept until a person replays or discards it."""

    entry: OutboxEntry
    reason: str
    """The cloud's own sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What became of the dead letters that were to be replayed."""

    count: int
    """They wait for delivery again."""
    kept: int = 0
    """They stay dead letters: `TOO_OLD`, and nobody said that they are to be sent all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """How much is kept, dead letters included; past it calls fail."""

    max_entries: int
    """SIDECAR_OUTBOX_MAX_ENTRIES."""
    max_bytes: int
    """SIDECAR_OUTBOX_MAX_BYTES."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """How full the outbox is."""

    waiting: int = 0
    dead: int = 0
    size_bytes: int = 0
    oldest_accepted_at_ms: int | None = None
    """None when nothing waits."""
    has_room: bool = True
    """False while its disk is too full for more to be accepted."""
    damaged_files: int = 0
    """Files that were set aside and wait for a person."""


class Outbox(Protocol):
    """A durable queue of writes; every method raises OutboxUnavailable when it cannot be reached."""

    async def accept(self, writes: Sequence[Write]) -> None:
        """Keeps all of them, or none; returns once they would survive a crash.

        Raises:
            Overloaded: a bound is full.
        """
        ...

    async def oldest(self, count: int) -> Sequence[OutboxEntry]:
        """The entries that wait longest, in the order of their acceptance; they stay until settled."""
        ...

    async def settle(self, entries: Sequence[OutboxEntry]) -> None:
        """Removes what was delivered."""
        ...

    async def bury(self, entry: OutboxEntry, *, reason: str) -> None:
        """Makes an entry a dead letter."""
        ...

    async def waiting(self, count: int) -> Sequence[OutboxEntry]:
        """The entries that wait longest, for people: looking takes nothing from who delivers."""
        ...

    async def dead_letters(self, count: int) -> Sequence[DeadLetter]:
        """The oldest dead letters."""
        ...

    async def replay(self, ids: Sequence[str] | None = None, *, even_too_old: bool = False) -> Replayed:
        """Has dead letters wait for delivery again, all unless named, page by page.

        What may have been delivered (`TOO_OLD`) stays unless `even_too_old`. What is too old begins to wait
        anew: it would be set aside again at once.
        """
        ...

    async def discard(self, ids: Sequence[str] | None = None, *, waiting: bool = False) -> int:
        """Removes what is named for good, page by page, and returns how many.

        Unless named, all dead letters, and with `waiting` what waits as well.
        """
        ...

    async def state(self) -> OutboxState:
        """How full it is; looks for losses as well."""
        ...

    def taken_losses(self) -> int:
        """The number of entries found to be lost since this was called last: none of us removed them."""
        ...

    async def stop(self) -> None:
        """Closes what is open; can be called twice."""
        ...
