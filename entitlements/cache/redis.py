"""The tier that several processes share, and that others read and write too (contract/redis.md).

Whatever is found there is input, not truth; whatever does not work is a miss or a dropped write, and counted.
"""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from entitlements import metrics
from entitlements.cache.codec import Metadata, encode_entity, encode_metadata
from entitlements.cache.redis_reading import (
    LikelyUsages,
    read_entity,
    usages_of,
)
from entitlements.cache.redis_writing import Done, move_usage, usage_write
from entitlements.cache.tiers import Miss, Shared
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entitlement import NO_TIMESTAMP_MS
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate
from entitlements.domain.freshness import NEVER, UNKNOWN_CUSTOMER_SECONDS, is_unknown_customer
from entitlements.domain.ports import Clock, FetchClaim
from entitlements.json_fields import Malformed, Unwritable
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.redis.clocks import TwoClocks
from entitlements.redis.connection import UNAVAILABLE, Client, RedisConnection, Unavailable
from entitlements.redis.fetch_lock import release_of
from entitlements.redis.keys import KeySpace, customer_of, raw, timestamp_of
from entitlements.redis.nodes import node_name
from entitlements.redis.own_writes import OwnWrites
from entitlements.redis.scanning import scan_page
from entitlements.redis.scripts import Settled, Write, write_newest

_Answer = TypeVar("_Answer")

logger = logging.getLogger(__name__)

UNKNOWN_CUSTOMER_TTL_SECONDS = int(UNKNOWN_CUSTOMER_SECONDS)
"""An unknown customer may be signing up: nobody is answered longer than this that it is unknown."""
KEYS_PER_PAGE = 500
"""How many names one SCAN looks at."""
ROUNDED_SECONDS = 0.001
"""Redis says in whole milliseconds how long a key still lives: what it holds may be so much older."""
MAX_CLOCKS = 2
"""So often an entity is written: once more where Redis' clock turned out to be another than was known."""


class RedisTier:
    """A `SharedTier` in Redis."""

    def __init__(
        self, connection: RedisConnection, *, keys: KeySpace, clock: Clock, ttl_seconds: int
    ) -> None:
        """Takes its place in Redis.

        Args:
            connection: the way there; the caller stops it.
            keys: the names under REDIS_ENVIRONMENT_PREFIX.
            clock: stamps what the cloud did not stamp.
            ttl_seconds: REDIS_KEYS_TTL_IN_SECS; zero or negative for keys that never expire.
        """
        self._connection = connection
        self._keys = keys
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        self._clocks: dict[str, TwoClocks] = {}
        """By node: each has a clock of its own, and its scripts look at that."""
        self._likely = LikelyUsages()
        self._occasional = RateLimitedLog(logger, clock.monotonic)
        self.own_writes = OwnWrites(clock.monotonic)
        """What is on its way there from here."""
        self.dropped_writes = 0
        """How many writes Redis did not take."""
        self.takes_writes = True
        """False after a write that Redis did not take, until it takes one."""
        self.junk_values = 0
        """How many values were found that cannot be used."""
        self.junk_found_at = NEVER
        """When the last of them was found, monotonic seconds."""

    async def get(self, key: EntityKey, *, claim: FetchClaim | None = None) -> CachedEntity | Miss:
        """The entity, with the newest usage of each meter and balance, or why it is a miss; see SharedTier.

        How long ago it was confirmed shows in how long its key still lives; without an expiry nobody knows.
        """
        if self._is_left_out(key):
            return Miss.ABSENT
        found = await self._run(
            key,
            lambda client: read_entity(
                client,
                self._keys,
                key,
                likely=self._likely,
                clocks=self._clocks_for(client, key),
                claim=claim,
            ),
        )
        if found is UNAVAILABLE:
            return Miss.UNAVAILABLE
        if isinstance(found, Malformed):
            self._note_junk(found)
            return Miss.JUNK
        if isinstance(found, Miss):
            return found
        age_seconds = self._ttl_of(found.entity) - found.lives_seconds + ROUNDED_SECONDS
        is_known = age_seconds >= 0 and not found.lacks_usages  # a usage that is left out is checked again
        confirmed_at = found.read_at - age_seconds if is_known else NEVER
        return CachedEntity(
            entity=found.entity,
            confirmed_at=confirmed_at,
            known_at=None if found.known_at is None else min(found.known_at, confirmed_at),
            lacks_usages=found.lacks_usages,
        )

    async def store(self, key: EntityKey, cached: CachedEntity, *, claim: FetchClaim | None = None) -> Shared:
        """Writes the set unless a later one of ours is there, and each usage that is not older.

        A claim is given back along with it.
        """
        if self._is_left_out(key):
            return Shared.MISSING
        return await self._write(key, lambda client: self._store(client, key, cached, claim))

    async def apply_usage(self, key: EntityKey, update: UsageUpdate) -> Shared:
        """Moves one meter of an entity that Redis holds."""
        if self._is_left_out(key):
            return Shared.MISSING

        def move(client: Client) -> Done:
            clocks = self._clocks_for(client, key)
            return move_usage(client, self._keys, key, update, ttl_seconds=self._ttl_seconds, clocks=clocks)

        return await self._write(key, move)

    async def drop(self, key: EntityKey) -> None:
        """Forgets an entity; its usages stay for the next one, under their own timestamps."""
        if self._is_left_out(key):
            return
        documents = (self._keys.entity(key), self._keys.metadata(key))
        names = [raw(name) for document in documents for name in (document, timestamp_of(document))]

        def delete(client: Client) -> Done:
            return Done(Shared.TAKEN, has_changed=bool(client.delete(*names)))

        await self._write(key, delete)

    async def page_of_keys(
        self, cursor: int, *, containing: str = "", names: int = KEYS_PER_PAGE
    ) -> tuple[int, Sequence[EntityKey]] | None:
        """Some of what it may hold, and where to go on (0: that was all); None when it cannot be asked.

        Args:
            cursor: where to go on; 0 from the start.
            containing: what the ids have to hold.
            names: the number of names to look at.

        An id that looks like a part of the layout may be listed wrongly: `get` says what is there.
        """
        answer = await self._connection.run(
            lambda client: scan_page(client, cursor, match=self._keys.entities_with(containing), count=names)
        )
        if answer is UNAVAILABLE:
            return None
        following, found = answer
        keys = (self._keys.key_of(name) for name in found)
        return following, [key for key in keys if key is not None]

    async def sizes_of(self, keys: Sequence[EntityKey]) -> Sequence[int | None]:
        """The bytes of each one's entitlements as JSON; None where Redis does not say."""

        def lengths(client: Client) -> list[int]:
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.strlen(raw(self._keys.entity(key)))
            return cast("list[int]", pipeline.execute())

        answer = await self._connection.run(lengths)
        return [None] * len(keys) if answer is UNAVAILABLE else answer

    async def _run(self, key: EntityKey, work: Callable[[Client], _Answer]) -> _Answer | Unavailable:
        return await self._connection.run(work, key=self._keys.entity(key))

    def _clocks_for(self, client: Client, key: EntityKey) -> TwoClocks:
        name = node_name(client, raw(self._keys.entity(key)))
        clocks = self._clocks.get(name)
        return clocks or self._clocks.setdefault(name, TwoClocks(self._clock.monotonic))

    async def _write(self, key: EntityKey, work: Callable[[Client], Done]) -> Shared:
        """What became of it; MISSING when Redis does not answer, or when junk is in the way."""
        done = Done(Shared.MISSING, has_changed=False)
        self.own_writes.begun(key)
        try:
            answer = await self._run(key, work)
            done = done if answer is UNAVAILABLE else answer
        except Unwritable:  # nobody else's junk, and Redis is well
            self._drop_write()
            self._occasional.warning("unwritable", "an entity has no JSON form and stays out of redis")
            return Shared.MISSING
        except Malformed as junk:
            self._note_junk(junk)
            return Shared.MISSING
        finally:
            is_changed_by_others = self.own_writes.ended(key, has_changed=done.has_changed)
        if answer is UNAVAILABLE:
            self.takes_writes = False
            self._drop_write()
            return Shared.MISSING
        self.takes_writes = True
        return Shared.OVERTAKEN if is_changed_by_others else done.outcome

    def _drop_write(self) -> None:
        self.dropped_writes += 1
        metrics.REDIS_DROPPED_WRITES.inc()

    def _is_left_out(self, key: EntityKey) -> bool:
        """True for an entity whose name in Redis could be another's; counted."""
        if not self._keys.is_ambiguous(key):
            return False
        metrics.REDIS_AMBIGUOUS_IDS.inc()
        return True

    def _note_junk(self, junk: Malformed) -> None:
        metrics.CACHE_JUNK.labels("redis").inc()
        self.junk_values += 1
        self.junk_found_at = self._clock.monotonic()
        self._occasional.warning("junk", "redis holds what cannot be used cause=%s", junk)

    def _store(self, client: Client, key: EntityKey, cached: CachedEntity, claim: FetchClaim | None) -> Done:
        entity = cached.entity
        stamp_ms = entity.updated_at_ms
        if stamp_ms == NO_TIMESTAMP_MS and not entity.is_empty:
            stamp_ms = self._clock.now_ms()
        usages = [usage_write(name, usage) for name, usage in usages_of(self._keys, key, entity)]
        document = encode_entity(key, entity)
        clocks = self._clocks_for(client, key)
        has_changed = is_whole = False
        for _ in range(MAX_CLOCKS):
            sent_at_redis_ms = clocks.redis_ms(client, self._keys.entity(key))
            known_at_ms = 0 if cached.known_since == NEVER else clocks.as_redis_ms(cached.known_since)
            metadata = encode_metadata(Metadata(denied_reason=entity.denied_reason, known_at_ms=known_at_ms))
            sent_at = clocks.now()
            written = write_newest(
                client,
                [
                    *usages,
                    Write(key=self._keys.metadata(key), value=metadata, timestamp_ms=stamp_ms),
                    Write(key=self._keys.entity(key), value=document, timestamp_ms=stamp_ms),
                ],
                ttl_seconds=self._ttl_left(cached),
                sent_at_redis_ms=sent_at_redis_ms,
                known_at_ms=known_at_ms,
                customer=self._customer_to_settle(key),
                release=None if claim is None else release_of(self._keys, claim),
            )
            if claim is not None:
                claim.is_given_back = True
            has_changed = has_changed or written.writes > 0
            is_whole = written.writes == len(usages) + 2
            if not clocks.measured(written.now_ms, since=sent_at):
                break
        return Done(Shared.TAKEN if is_whole else Shared.OVERTAKEN, has_changed=has_changed)

    def _customer_to_settle(self, key: EntityKey) -> Settled | None:
        """Whose timestamp a resource has to know where it is newer than its own, and which must have one.

        Without it the resource would be a miss for ever where the cloud's own timestamps stay in that
        order, or where nobody asks for the customer itself (contract/redis.md, Rules).
        """
        if key.resource_id is None:
            return None
        return Settled(key=self._keys.entity(customer_of(key)), ttl_seconds=self._ttl_seconds)

    def _ttl_left(self, cached: CachedEntity) -> float:
        """The TTL counts from when the cloud was asked, so that others know the entity's age by it."""
        ttl_seconds = self._ttl_of(cached.entity)
        age_seconds = self._clock.monotonic() - cached.confirmed_at
        return max(ttl_seconds - age_seconds, ttl_seconds / 2)

    def _ttl_of(self, entity: Entity) -> int:
        if not is_unknown_customer(entity):
            return self._ttl_seconds
        if self._ttl_seconds <= 0:
            return UNKNOWN_CUSTOMER_TTL_SECONDS
        return min(UNKNOWN_CUSTOMER_TTL_SECONDS, self._ttl_seconds)
