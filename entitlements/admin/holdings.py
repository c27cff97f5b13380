"""What the tiers hold, page by page: never a copy of all, and never long enough to be felt by a check."""

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from entitlements.cache.memory import MemoryTier
from entitlements.cache.redis import RedisTier
from entitlements.composition import Sidecar
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import EntityKey
from entitlements.domain.ports import Source

ROWS = 50
"""How many on a page, at least where there are more; a page of Redis may have some more."""
SLICE = 2000
"""After so many ids of memory checks get their turn at the interpreter."""
SLICE_PAUSE_SECONDS = 0.0002
MAX_LOOKED_AT = 500_000
"""How many ids of memory one page looks through."""
COUNTED = 100_000
"""How many the states are counted of, the newest."""
SCAN_NAMES = 200
"""How many names of Redis one SCAN looks at."""
SCAN_SECONDS = 0.25
"""One page asks Redis for no longer than this; the next page goes on."""


class Listing(NamedTuple):
    """One page of what is held."""

    keys: Sequence[EntityKey]
    following: str | None
    """Where the next page begins; None when there is none."""
    is_answered: bool = True
    """False when the tier could not be asked."""


class Held(NamedTuple):
    """One entity as a tier has it."""

    key: EntityKey
    cached: CachedEntity
    tier: Source
    size_bytes: int | None


Accepts = Callable[[CachedEntity], bool]
"""Which are listed."""


def anything(_: CachedEntity) -> bool:
    """All of them."""
    return True


def listed_in_memory(
    memory: MemoryTier, *, search: str, after: EntityKey | None, accepts: Accepts = anything
) -> Listing:
    """A page of this process's memory, the newest first; ids hold the search, its own id comes first."""
    found: list[EntityKey] = []
    exact, searched = EntityKey(search), search.casefold()
    if search and after is None and _is_held(memory, exact, accepts):
        found.append(exact)
    last = after
    for number, key in enumerate(_in_turns(memory.newest_first(after=after)), start=1):
        if len(found) >= ROWS or number > MAX_LOOKED_AT:
            return Listing(found, None if last is None else key_text(last))
        last = key
        if key != exact and _matches(key, searched) and _is_held(memory, key, accepts):
            found.append(key)
    return Listing(found, None)


def first_in_memory(
    memory: MemoryTier, *, search: str, rank: Callable[[EntityKey, CachedEntity], Any], accepts: Accepts
) -> Listing:
    """Those with the lowest rank of all that match: one page, and no other behind it."""
    searched = search.casefold()
    ranked = (
        (rank(key, cached), key_text(key), key)
        for key in _in_turns(islice(memory.newest_first(), MAX_LOOKED_AT))
        if _matches(key, searched) and (cached := memory.peek(key)) is not None and accepts(cached)
    )
    return Listing([key for _, _, key in heapq.nsmallest(ROWS, ranked)], None)


def counted_in_memory(memory: MemoryTier, name_of: Callable[[CachedEntity], str]) -> Counter[str]:
    """How many of the COUNTED newest there are by name."""
    counts: Counter[str] = Counter()
    for key in _in_turns(islice(memory.newest_first(), COUNTED)):
        cached = memory.peek(key)
        if cached is not None:
            counts[name_of(cached)] += 1
    return counts


def _in_turns(keys: Iterator[EntityKey]) -> Iterator[EntityKey]:
    for number, key in enumerate(keys, start=1):
        yield key
        if number % SLICE == 0:
            time.sleep(SLICE_PAUSE_SECONDS)


def _is_held(memory: MemoryTier, key: EntityKey, accepts: Accepts) -> bool:
    cached = memory.peek(key)
    return cached is not None and accepts(cached)


async def listed_in_redis(
    tier: RedisTier, *, search: str, cursor: int, monotonic: Callable[[], float]
) -> Listing:
    """A page of what Redis holds, in its own order; ids hold the search, its own id comes first."""
    found: dict[EntityKey, None] = {}
    if search and cursor == 0 and isinstance(await tier.get(EntityKey(search)), CachedEntity):
        found[EntityKey(search)] = None
    ends_at = monotonic() + SCAN_SECONDS
    while len(found) < ROWS and monotonic() < ends_at:
        page = await tier.page_of_keys(cursor, containing=search, names=SCAN_NAMES)
        if page is None:
            return Listing(list(found), None, is_answered=False)
        cursor, keys = page
        found |= dict.fromkeys(keys)
        if cursor == 0:
            return Listing(list(found), None)
    return Listing(list(found), str(cursor))


def held_in_memory(memory: MemoryTier, keys: Sequence[EntityKey]) -> list[Held]:
    """What memory has of these; looking leaves no mark."""
    return [
        Held(key, cached, Source.MEMORY, memory.size_of(key))
        for key in keys
        if (cached := memory.peek(key)) is not None
    ]


async def held_in_redis(built: Sidecar, tier: RedisTier, keys: Sequence[EntityKey]) -> list[Held]:
    """What Redis has of these, as far as this process can rely on it; nothing goes into memory."""
    sizes = await tier.sizes_of(keys)
    entities = await asyncio.gather(*(tier.get(key) for key in keys))
    return [
        Held(
            key,
            replace(cached, confirmed_at=built.feed_trust.vouch(cached.confirmed_at)),
            Source.REDIS,
            size_bytes,
        )
        for key, cached, size_bytes in zip(keys, entities, sizes, strict=True)
        if isinstance(cached, CachedEntity)
    ]


def key_text(key: EntityKey) -> str:
    """A key as one text, for forms and addresses."""
    return (
        f"{len(key.customer_id)}:{key.customer_id}{'' if key.resource_id is None else f':{key.resource_id}'}"
    )


def key_from_text(text: str) -> EntityKey:
    """The same, back.

    Raises:
        ValueError: the text is no such key.
    """
    length, separator, rest = text.partition(":")
    if not separator or not length.isdecimal() or len(length) > 6:  # noqa: PLR2004 - a million
        raise ValueError(text)
    customer_id, rest = rest[: int(length)], rest[int(length) :]
    if len(customer_id) != int(length) or not customer_id or (rest and not rest.startswith(":")):
        raise ValueError(text)
    return EntityKey(customer_id, rest[1:] if rest else None)


def _matches(key: EntityKey, search: str) -> bool:
    """In whatever case; `search` is folded."""
    if not search or search in key.customer_id.casefold():
        return True
    return key.resource_id is not None and search in key.resource_id.casefold()
