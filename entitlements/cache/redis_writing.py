"""How one usage moves in Redis, also while others write there, and what became of a write."""

from collections.abc import Sequence
from typing import NamedTuple

from entitlements.cache.codec import encode_usage
from entitlements.cache.redis_reading import moved_usage, usage_key_of
from entitlements.cache.tiers import Shared
from entitlements.domain.entitlement import Usage
from entitlements.domain.entity import EntityKey, UsageUpdate
from entitlements.redis.clocks import TwoClocks
from entitlements.redis.connection import Client, values_of
from entitlements.redis.keys import KeySpace, timestamp_of
from entitlements.redis.scripts import Write, replace_usage, write_newest

MAX_USAGE_ATTEMPTS = 3
"""So often a usage is worked out anew because another wrote meanwhile; then newest wins, as everywhere."""


class Done(NamedTuple):
    """What became of one write."""

    outcome: Shared
    has_changed: bool
    """True where Redis has something to name."""


def move_usage(
    client: Client,
    keys: KeySpace,
    key: EntityKey,
    update: UsageUpdate,
    *,
    ttl_seconds: int,
    clocks: TwoClocks,
) -> Done:
    """Moves one meter of an entity that Redis holds."""
    for _ in range(MAX_USAGE_ATTEMPTS):
        planned = _planned(client, keys, key, update)
        if isinstance(planned, Shared):
            return Done(planned, has_changed=False)
        write, held = planned
        entity_key = keys.entity(key)
        if replace_usage(client, entity_key=entity_key, held=held, write=write, ttl_seconds=ttl_seconds):
            return Done(Shared.TAKEN, has_changed=True)
    planned = _planned(client, keys, key, update)
    if isinstance(planned, Shared):
        return Done(planned, has_changed=False)
    write, _ = planned
    sent_at_redis_ms = clocks.redis_ms(client, write.key)
    written = write_newest(client, [write], ttl_seconds=ttl_seconds, sent_at_redis_ms=sent_at_redis_ms)
    has_changed = bool(written.writes)
    return Done(Shared.TAKEN if has_changed else Shared.OVERTAKEN, has_changed=has_changed)


def usage_write(key: str, usage: Usage) -> Write:
    """A usage as it is written under its own key."""
    return Write(key=key, value=encode_usage(usage), timestamp_ms=usage.updated_at_ms)


def _planned(
    client: Client, keys: KeySpace, key: EntityKey, update: UsageUpdate
) -> tuple[Write, Sequence[bytes | None]] | Shared:
    """What the update makes of the usage that is held, and that; or why it changes nothing."""
    entity_key, usage_key = keys.entity(key), usage_key_of(keys, key, update)
    names = [entity_key, timestamp_of(entity_key), usage_key, timestamp_of(usage_key)]
    text, stamp, *held = values_of(client, names)
    if text is None or stamp is None:
        return Shared.MISSING
    usage = moved_usage(keys, key, update, entitlements=text, held=held)
    return Shared.OVERTAKEN if usage is None else (usage_write(usage_key, usage), held)
