"""What the cloud's feed sends, as values (contract/upstream.md, GraphQL over WebSocket)."""

from dataclasses import dataclass
from typing import TypeAlias

from entitlements.domain.entity import Entity, EntityKey, UsageUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class EntitlementsChanged:
    """An entity's whole set is new."""

    key: EntityKey
    entity: Entity | None
    """None when the cloud does not say what it is now: it is dropped and fetched on next use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageChanged:
    """One meter or balance of an entity moved."""

    key: EntityKey
    update: UsageUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagePublished:
    """A plan or add-on was published."""

    affects_all_customers: bool
    """True when everything cached is out of date."""


FeedEvent: TypeAlias = EntitlementsChanged | UsageChanged | PackagePublished
