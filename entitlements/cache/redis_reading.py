"""How an entity is put together from what stands in Redis; runs on the connection's threads."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from redis.exceptions import ResponseError

from entitlements.cache.codec import Metadata, decode_entity, decode_metadata, decode_timestamp, decode_usage
from entitlements.cache.tiers import Miss
from entitlements.domain.entitlement import CreditEntitlement, MeteredEntitlement, Usage
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate, with_usage
from entitlements.domain.ports import FetchClaim
from entitlements.json_fields import Malformed
from entitlements.redis.clocks import TwoClocks
from entitlements.redis.connection import Client, values_of
from entitlements.redis.keys import KeySpace, customer_of, raw, timestamp_of
from entitlements.redis.scripts import Read, read

ONE_STEP_MS = 2
"""Before Redis 7 time goes on within a step."""
MAX_LIKELY_USAGES = 32
"""So many usages are read with an entity though it may not have them."""

_Tracked = TypeVar("_Tracked", MeteredEntitlement, CreditEntitlement)
_UsageTexts: TypeAlias = tuple[bytes | None, bytes | None]
_LEFT_OUT: _UsageTexts = (None, None)
"""Neither a usage nor its timestamp: never written, or expired. One without the other is a miss."""
"""A usage and its timestamp, as they stand in Redis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An entity in Redis."""

    entity: Entity
    lives_seconds: float
    """Until its timestamp expires; infinite when it never does."""
    read_at: float
    """When Redis held it, monotonic seconds, however long the answer was on its way."""
    known_at: float | None
    """When the cloud was asked for its set or sent it, by the same clock; None where nobody says so."""
    lacks_usages: bool = False
    """True where some of its usages have no keys; what the document says of them stands."""


class LikelyUsages:
    """Which usages an entity probably has: those of the ones before, so that they are read along with it.

    Customers of one plan have the same meters. Any thread may read and add: the endings are replaced whole.
    """

    def __init__(self) -> None:
        self._endings: tuple[str, ...] = ()

    def keys_of(self, entity_key: str) -> list[str]:
        """The usage keys that this entity probably has."""
        return [entity_key + ending for ending in self._endings]

    def learn(self, entity_key: str, missed: Sequence[str]) -> None:
        """Notes the keys that were not among those, and forgets the others when there are too many."""
        new = tuple(key.removeprefix(entity_key) for key in missed)
        known = () if len(self._endings) + len(new) > MAX_LIKELY_USAGES else self._endings
        self._endings = (*known, *new)[:MAX_LIKELY_USAGES]


def read_entity(
    client: Client,
    keys: KeySpace,
    key: EntityKey,
    *,
    likely: LikelyUsages,
    clocks: TwoClocks,
    claim: FetchClaim | None = None,
) -> Found | Miss | Malformed:
    """The entity as Redis has it, each usage from its own key, or why it is a miss.

    In one round trip where its usages are those that are likely, else in two. Where there is no entity, the
    claim is made along with the first.
    """
    documents = [keys.entity(key), keys.metadata(key)]
    try:
        found, live = _read_entitlements(client, keys, key, likely=likely, clocks=clocks, claim=claim)
        if isinstance(found, Miss):
            return found
        usage_keys = [usage_key for usage_key, _ in usages_of(keys, key, found.entity)]
        documents += usage_keys
        missed = [each for each in usage_keys if each not in live]
        if missed:
            likely.learn(documents[0], missed)
            live |= _usage_texts(missed, values_of(client, _with_timestamps(missed)))
        there = [each for each in usage_keys if live[each] != _LEFT_OUT]
        usages = {each: _usage_in(live[each]) for each in there}
        if None in usages.values():
            return Miss.ABSENT
        entity = _with_usages(keys, key, found.entity, usages)
        return replace(found, entity=entity, lacks_usages=len(there) < len(usage_keys))
    except Malformed as junk:
        # Without its timestamp, junk gives way to whatever is written next, and not only to what is newer.
        with suppress(ResponseError):
            client.delete(*(raw(timestamp_of(each)) for each in documents))
        return junk


def usages_of(keys: KeySpace, key: EntityKey, entity: Entity) -> Iterator[tuple[str, Usage]]:
    """The usage of each meter and balance with the key it has for itself."""
    for feature in entity.features.values():
        if isinstance(feature, MeteredEntitlement):
            yield keys.feature_usage(key, feature.feature.id), feature.usage
    for credit in entity.credits.values():
        yield keys.credit_usage(key, credit.currency.currency_id), credit.usage


def usage_key_of(keys: KeySpace, key: EntityKey, update: UsageUpdate) -> str:
    """Where the usage is that an update is about."""
    if update.currency_id is not None:
        return keys.credit_usage(key, update.currency_id)
    return keys.feature_usage(key, update.feature_id or "")


def moved_usage(
    keys: KeySpace, key: EntityKey, update: UsageUpdate, *, entitlements: bytes, held: Sequence[bytes | None]
) -> Usage | None:
    """What a usage key has to hold after the update; None when it may not move.

    Args:
        keys: all names.
        key: whose usage.
        update: what was sent.
        entitlements: the entity's document.
        held: the usage key's value and its timestamp's.

    Raises:
        Malformed: the entity's document cannot be read; a usage that cannot is as good as none.
    """
    usage_key = usage_key_of(keys, key, update)
    entity = decode_entity(entitlements)
    usage_text, stamp = held
    if usage_text is not None and stamp is not None:
        with suppress(Malformed):
            usage = decode_usage(usage_text, updated_at_ms=decode_timestamp(stamp))
            entity = _with_usages(keys, key, entity, {usage_key: usage})
    moved = with_usage(entity, update)
    return None if moved is None else dict(usages_of(keys, key, moved))[usage_key]


def _read_entitlements(
    client: Client,
    keys: KeySpace,
    key: EntityKey,
    *,
    likely: LikelyUsages,
    clocks: TwoClocks,
    claim: FetchClaim | None,
) -> tuple[Found | Miss, dict[str, _UsageTexts]]:
    """The entity with the usages that its own document says, and what the likely usage keys hold."""
    entity_key = keys.entity(key)
    usage_keys = likely.keys_of(entity_key)
    names = [timestamp_of(entity_key), entity_key, keys.metadata(key)]
    if key.resource_id is not None:
        names.append(timestamp_of(keys.entity(customer_of(key))))
    asked_at = clocks.now()
    lock = None if claim is None else (keys.fetch_lock(key), claim.token, claim.hold_ms)
    answer = read(client, [*names, *_with_timestamps(usage_keys)], lock=lock)
    if claim is not None:
        claim.is_ours = answer.is_locked
    clocks.measured(answer.now_ms, since=asked_at)
    stamp, text, metadata_text, *customer_stamps = answer.values[: len(names)]
    live = _usage_texts(usage_keys, answer.values[len(names) :])
    if text is None or stamp is None:
        return Miss.ABSENT, live
    stamp_ms = decode_timestamp(stamp)
    metadata = decode_metadata(metadata_text)
    for customer_stamp in customer_stamps:
        known_ms = max(stamp_ms, metadata.customer_timestamp_ms or 0)
        if customer_stamp is None or decode_timestamp(customer_stamp) > known_ms:
            return Miss.OUTDATED, live
    entity = replace(decode_entity(text), denied_reason=metadata.denied_reason, updated_at_ms=stamp_ms)
    found = Found(
        entity=entity,
        lives_seconds=answer.lives_ms / 1000 if answer.lives_ms >= 0 else inf,
        read_at=clocks.moment_of(answer.now_ms),
        known_at=_known_at(metadata, answer, clocks),
    )
    return found, live


def _known_at(metadata: Metadata, answer: Read, clocks: TwoClocks) -> float | None:
    """When the cloud was asked for this set or sent it, monotonic seconds; None where that is not said of it.

    An official writer writes the set without saying so, and what our write before said stays beside it. What
    one step wrote lives equally long.
    """
    is_of_one_write = abs(answer.lives_ms - answer.third_lives_ms) <= ONE_STEP_MS
    if metadata.known_at_ms is None or answer.lives_ms < 0 or not is_of_one_write:
        return None
    return clocks.moment_of(metadata.known_at_ms)


def _with_timestamps(usage_keys: Sequence[str]) -> list[str]:
    return [name for each in usage_keys for name in (each, timestamp_of(each))]


def _usage_texts(usage_keys: Sequence[str], values: Sequence[bytes | None]) -> dict[str, _UsageTexts]:
    return dict(zip(usage_keys, zip(values[::2], values[1::2], strict=True), strict=True))


def _usage_in(texts: _UsageTexts) -> Usage | None:
    text, stamp = texts
    if text is None or stamp is None:
        return None
    return decode_usage(text, updated_at_ms=decode_timestamp(stamp))


def _with_usages(
    keys: KeySpace, key: EntityKey, entity: Entity, usages: Mapping[str, Usage | None]
) -> Entity:
    """The entity with the usages of those keys in place of what its own document said."""

    def live(terms: _Tracked, usage_key: str) -> _Tracked:
        return replace(terms, usage=usages.get(usage_key) or terms.usage)

    return replace(
        entity,
        features=MappingProxyType(
            {
                id_: live(terms, keys.feature_usage(key, id_))
                if isinstance(terms, MeteredEntitlement)
                else terms
                for id_, terms in entity.features.items()
            }
        ),
        credits=MappingProxyType(
            {id_: live(terms, keys.credit_usage(key, id_)) for id_, terms in entity.credits.items()}
        ),
    )
