"""What people do to the cache: fetch anew, forget. Runs on the sidecar's own loop, as all of the tiers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from entitlements.composition import Sidecar
from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import UpstreamError

AT_A_TIME = 8
"""How many fetches of one page: callers' misses go first."""
REFRESH_SECONDS = 20.0
"""All fetches of one act together; what is left then counts as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an act."""

    act: str
    """What was done, in the past tense."""
    messages: dict[EntityKey, str]
    """For the log, by entity."""
    failed: int = 0

    def sentences(self, *, several_processes: bool) -> list[str]:
        """What the visitor reads."""
        count = len(self.messages) - self.failed
        found = [f"{count} {'entry' if count == 1 else 'entries'} {self.act}."]
        if self.failed:
            found.append(
                f"{self.failed} could not be fetched: the cloud did not answer. What was cached stays."
            )
        if several_processes:
            found.append(
                "Redis and the process that served this page know; others keep theirs until it changes."
            )
        return found


async def refresh(built: Sidecar, keys: Sequence[EntityKey]) -> Outcome:
    """Fetches each from the cloud; what is held stays where the cloud does not answer."""
    turns = asyncio.Semaphore(AT_A_TIME)
    deadline = built.clock.monotonic() + REFRESH_SECONDS

    async def fetch(key: EntityKey) -> bool:
        async with turns:
            remaining = deadline - built.clock.monotonic()
            if remaining <= 0:
                return False
            try:
                await built.maintenance.refresh(key, budget_seconds=remaining)
            except UpstreamError:
                return False
            return True

    fetched = await asyncio.gather(*(fetch(key) for key in keys))
    messages = {
        key: "Refreshed." if was_fetched else "Refresh failed: the cloud did not answer."
        for key, was_fetched in zip(keys, fetched, strict=True)
    }
    return Outcome(act="refreshed", messages=messages, failed=fetched.count(False))


async def evict(built: Sidecar, keys: Sequence[EntityKey]) -> Outcome:
    """Forgets each, a customer with its resources."""
    evicted = await built.maintenance.evict(keys)
    return Outcome(act="evicted", messages=dict.fromkeys(evicted, "Evicted."))
