"""What of the outbox goes to the cloud in one call."""

from collections.abc import Sequence
from itertools import takewhile

from entitlements.domain.outbox import (
    OutboxEntry,
    Write,
)
from entitlements.domain.usage import (
    MAX_EVENTS_PER_CALL,
    MAX_USAGES_PER_CALL,
    UsageEvent,
)

MAX_BATCH_BYTES = 4 * 1024 * 1024
"""A delivery holds no more, but for one entry that is larger by itself."""


def first_batch(entries: Sequence[OutboxEntry]) -> Sequence[OutboxEntry]:
    """The longest run from the start that the cloud takes in one call."""
    if not entries:
        return ()
    kind = type(entries[0].write)
    size_bytes = 0

    def fits(entry: OutboxEntry) -> bool:
        nonlocal size_bytes
        size_bytes += entry.size_bytes
        return type(entry.write) is kind and (size_bytes <= MAX_BATCH_BYTES or entry is entries[0])

    run = list(takewhile(fits, entries))
    return run[: MAX_EVENTS_PER_CALL if kind is UsageEvent else MAX_USAGES_PER_CALL]


def kind_of(write: Write) -> str:
    return "event" if isinstance(write, UsageEvent) else "usage"
