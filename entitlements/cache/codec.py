"""Entities as the JSON documents of the shared Redis, and back (contract/redis.md).

What is unknown is left out (a new kind of entitlement) or taken as unknown (a new reason); what is of the
wrong type is `Malformed`.
"""

from dataclasses import dataclass, replace
from types import MappingProxyType

from entitlements.cache.decoding import entitlement_from, reason_from, usage_from
from entitlements.cache.encoding import credit_entry, feature_entry, usage_document
from entitlements.domain.entitlement import CreditEntitlement, FeatureEntitlement, Usage
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.moments import LATEST_MS
from entitlements.domain.reason import AccessDeniedReason
from entitlements.json_fields import Malformed, parsed, written


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The document beside an entity's entitlements."""

    denied_reason: AccessDeniedReason | None = None
    """The state-level reason."""
    customer_timestamp_ms: int | None = None
    """Ours: the customer's timestamp that this state of a resource is known to be no older than."""
    known_at_ms: int | None = None
    """Ours: when the cloud was asked for this state or sent it, by Redis' clock; orders our own processes."""


def encode_entity(key: EntityKey, entity: Entity) -> bytes:
    """The map of all entitlements."""
    entries: dict[str, object] = {
        each.feature.id: feature_entry(key, each) for each in entity.features.values()
    }
    for credit in entity.credits.values():
        name = f"credit_{credit.currency.currency_id}"
        while name in entries:  # a feature of that id was there first, and has to be under its own
            name += "_"
        entries[name] = credit_entry(credit)
    return written(entries)


def decode_entity(text: bytes) -> Entity:
    """The entitlements, without reason and timestamp; usage as it stood when the map was written.

    Raises:
        Malformed: the text is no such map.
    """
    features: dict[str, FeatureEntitlement] = {}
    credits_: dict[str, CreditEntitlement] = {}
    for entry in parsed(text, "entitlements").objects():
        entitlement = entitlement_from(entry)
        if isinstance(entitlement, CreditEntitlement):
            credits_[entitlement.currency.currency_id] = entitlement
        elif entitlement is not None:
            features[entitlement.feature.id] = entitlement
    return Entity(features=MappingProxyType(features), credits=MappingProxyType(credits_))


def encode_metadata(metadata: Metadata) -> bytes:
    """The document beside the map; our own fields disturb no official reader."""
    reason = metadata.denied_reason
    document: dict[str, object] = {"accessDeniedReason": None if reason is None else reason.value}
    if metadata.customer_timestamp_ms is not None:
        document["customerTimestamp"] = metadata.customer_timestamp_ms
    if metadata.known_at_ms is not None:
        document["toldAt"] = metadata.known_at_ms
    return written(document)


def decode_metadata(text: bytes | None) -> Metadata:
    """What stands beside the map; nothing does where an older writer wrote.

    Raises:
        Malformed: the text is no such document.
    """
    if text is None:
        return Metadata()
    document = parsed(text, "metadata")
    return Metadata(
        denied_reason=reason_from(document),
        customer_timestamp_ms=document.moment("customerTimestamp"),
        known_at_ms=document.moment("toldAt"),
    )


def encode_usage(usage: Usage) -> bytes:
    """The live usage of one meter or balance; its timestamp is a key of its own."""
    return written(usage_document(usage))


def decode_usage(text: bytes, *, updated_at_ms: int) -> Usage:
    """The live usage of one meter or balance.

    Raises:
        Malformed: the text is no usage.
    """
    return replace(usage_from(parsed(text, "usage")), updated_at_ms=updated_at_ms)


def decode_timestamp(text: bytes) -> int:
    """Epoch milliseconds.

    Raises:
        Malformed: the text is no moment before the year 10000.
    """
    if not text.isdigit() or len(text) > len(str(LATEST_MS)) or int(text) > LATEST_MS:
        raise Malformed("timestamp", "epoch milliseconds")
    return int(text)
