"""What became of dead letters that a person replayed: delivered, refused again, or waiting, and for what."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from entitlements.domain.outbox import Outbox

SHOWN = 100
"""How many of each list are looked at, those that wait longest."""
WATCH_SECONDS = 3.0
"""The page waits so long for what it replayed; a cloud that is well takes it in a part of a second."""
LOOK_SECONDS = 0.1


class Outcome(NamedTuple):
    """What became of some letters, by their idempotency keys."""

    delivered: int
    refused: Mapping[str, str]
    """With the cloud's reason."""
    waiting: int

    def sentences(self, hindrance: str | None) -> list[str]:
        """What the visitor reads; `hindrance` is why what waits does."""
        sentences = [f"Delivered: {self.delivered}."] if self.delivered else []
        if self.refused:
            sentences.append(
                f"Refused again: {len(self.refused)} ({'; '.join(sorted(set(self.refused.values())))})."
            )
        if self.waiting:
            sentences.append(
                f"Still waiting: {self.waiting}. {hindrance or 'The next delivery takes them along.'}"
            )
        return sentences


async def keys_of_letters(store: Outbox, ids: Sequence[str] | None) -> frozenset[str]:
    """The idempotency keys of these dead letters, or of all; as many as the page shows."""
    letters = await store.dead_letters(SHOWN)
    return frozenset(
        each.entry.write.idempotency_key for each in letters if ids is None or each.entry.id in ids
    )


async def outcome_of(store: Outbox, keys: frozenset[str]) -> Outcome:
    """Looks until none of them waits, or WATCH_SECONDS are over."""
    waiting: frozenset[str] = keys
    for _ in range(round(WATCH_SECONDS / LOOK_SECONDS)):
        waiting = keys & {each.write.idempotency_key for each in await store.waiting(SHOWN)}
        if not waiting:
            break
        await asyncio.sleep(LOOK_SECONDS)
    dead = {each.entry.write.idempotency_key: each.reason for each in await store.dead_letters(SHOWN)}
    refused = {key: dead[key] for key in keys & set(dead)}
    return Outcome(
        len(keys) - len(refused) - len(waiting - set(refused)), refused, len(waiting - set(refused))
    )
