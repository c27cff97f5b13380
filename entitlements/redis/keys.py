"""The names of everything in Redis: a contract with others that read and write there (contract/redis.md).

Ids stand in them as they are. A `KeySpace` is all names under one prefix.
"""

from dataclasses import dataclass

from entitlements.domain.entity import EntityKey

_FETCH = "refetchEntityEntitlementsAfterCacheMiss"


_PARTS = (":r_", ":f_", ":credit_")
"""What stands between the ids in a name."""
_ENDINGS = (":metadata", "#timestamp")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpace:
    """The keys of one environment."""

    prefix: str
    """REDIS_ENVIRONMENT_PREFIX."""

    def entity(self, key: EntityKey) -> str:
        """Where the entitlements of a customer or resource are."""
        resource = "" if key.resource_id is None else f":r_{key.resource_id}"
        return f"{self.prefix}:c_{key.customer_id}{resource}"

    def metadata(self, key: EntityKey) -> str:
        """Where the state-level reason is."""
        return f"{self.entity(key)}:metadata"

    def feature_usage(self, key: EntityKey, feature_id: str) -> str:
        """Where the live usage of a metered feature is."""
        return f"{self.entity(key)}:f_{feature_id}"

    def credit_usage(self, key: EntityKey, currency_id: str) -> str:
        """Where the live usage of a credit is."""
        return f"{self.entity(key)}:credit_{currency_id}"

    def fetch_lock(self, key: EntityKey) -> str:
        """What the process holds that fetches this entity."""
        return f"{self.prefix}:{_FETCH}-{_ids(key)}"

    def fetch_channel(self, key: EntityKey) -> str:
        """Where that process announces that it is done."""
        return f"{self.prefix}:{_FETCH}:{_ids(key)}"

    def is_ambiguous(self, key: EntityKey) -> bool:
        """True when the entity's name is, or may be, another's: `a:r_b` is a customer, and resource b of a.

        The layout keeps ids raw and cannot keep them apart (contract/redis.md), so such an entity stays out
        of Redis: what it finds there could be another customer's.
        """
        ids = (key.customer_id, key.resource_id or "")
        if any(part in id_ for id_ in ids for part in _PARTS):
            return True
        return self.entity(key).endswith(_ENDINGS)

    @property
    def entities(self) -> str:
        """The pattern of all that is about customers, for SCAN."""
        return f"{_escaped(self.prefix)}:c_*"

    def entities_with(self, text: str) -> str:
        """The same pattern of those whose ids hold a text."""
        return f"{self.entities}{_escaped(text)}*" if text else self.entities

    def key_of(self, name: bytes) -> EntityKey | None:
        """Whose entitlements stand under that name; None when something else does."""
        try:
            rest = name.decode("utf-8", "surrogatepass").removeprefix(f"{self.prefix}:c_")
        except UnicodeDecodeError:
            return None
        if rest.endswith(_ENDINGS) or ":f_" in rest or ":credit_" in rest:
            return None
        customer_id, separator, resource_id = rest.partition(":r_")
        return EntityKey(customer_id, resource_id if separator else None)

    @property
    def fetch_channels(self) -> str:
        """The pattern of all such channels, for PSUBSCRIBE."""
        return f"{_escaped(self.prefix)}:{_FETCH}:*"

    @property
    def feed_lease(self) -> str:
        """What the process holds that writes the feed's changes; ours alone, no part of the contract."""
        return f"{self.prefix}:sidecar:feed-lease"

    @property
    def overrides(self) -> str:
        """The hash of overrides that people put in force; ours alone."""
        return f"{self.prefix}:sidecar:overrides"

    @property
    def outbox(self) -> str:
        """The stream of writes not yet delivered; ours alone, as are the names that begin with it."""
        return f"{self.prefix}:sidecar:outbox"


def timestamp_of(key: str) -> str:
    """Where the timestamp of the change is that wrote `key`."""
    return f"{key}#timestamp"


def customer_of(key: EntityKey) -> EntityKey:
    """The customer as a whole that a resource belongs to."""
    return EntityKey(key.customer_id)


def raw(key: str) -> bytes:
    """The key's bytes; an id that is no valid Unicode has some, too."""
    return key.encode("utf-8", "surrogatepass")


def raw_key(key: str, key_prefix: str, version: int) -> str:
    """The key as it is: no prefix, no version, so that others find it (Django's KEY_FUNCTION)."""
    return key


def _escaped(text: str) -> str:
    return "".join(f"\\{each}" if each in r"\*?[]" else each for each in text)


def _ids(key: EntityKey) -> str:
    return key.customer_id if key.resource_id is None else f"{key.customer_id}:{key.resource_id}"
