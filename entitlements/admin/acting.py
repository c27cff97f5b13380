"""What people do to the cache: fetch anew, forget. Runs on the sidecar's own loop, as all of the tiers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from entitlements.composition import Sidecar
from entitlements.domain.entity import EntityKey
from entitlements.service.fetcher import NotFetched

AT_A_TIME = 8
"""How many fetches of one page: callers' misses go first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an act."""

    word: str
    """What was done, in the past tense."""
    told: dict[EntityKey, str]
    """For the log, by entity."""
    failed: int = 0

    def sentences(self, *, several_processes: bool) -> list[str]:
        """What the visitor is told."""
        count = len(self.told) - self.failed
        told = [f"{count} {'entry' if count == 1 else 'entries'} {self.word}."]
        if self.failed:
            told.append(
                f"{self.failed} could not be fetched: the cloud did not answer. What was cached stays."
            )
        if several_processes:
            told.append(
                "Redis and the process that served this page know; others keep theirs until it changes."
            )
        return told


async def refresh(built: Sidecar, keys: Sequence[EntityKey]) -> Outcome:
    """Fetches each from the cloud; what is held stays where the cloud does not answer."""
    turns = asyncio.Semaphore(AT_A_TIME)

    async def fetch(key: EntityKey) -> bool:
        async with turns:
            return not isinstance(await built.fetcher.fetch(key), NotFetched)

    fetched = await asyncio.gather(*(fetch(key) for key in keys))
    told = {
        key: "Refreshed." if was_fetched else "Refresh failed: the cloud did not answer."
        for key, was_fetched in zip(keys, fetched, strict=True)
    }
    return Outcome(word="refreshed", told=told, failed=fetched.count(False))


async def evict(built: Sidecar, keys: Sequence[EntityKey]) -> Outcome:
    """Forgets each in memory and in Redis, a customer with the resources that memory knows of."""
    all_keys = dict.fromkeys(keys)
    for key in keys:
        if key.resource_id is None:
            all_keys |= dict.fromkeys(built.store.resources_of(key.customer_id))
    for key in all_keys:
        await built.store.drop(key)
    return Outcome(word="evicted", told=dict.fromkeys(all_keys, "Evicted."))
