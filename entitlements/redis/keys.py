"""The names of everything in Redis: a contract with others that read and write there (contract/redis.md).

Ids stand in them as they are. A `KeySpace` is all names under one prefix. In a Cluster, where nobody official
is, braces stand around the customer: what is between the first pair of them says which node has a key, so
that all that is about one customer is together, and a script may change it in one step.
"""

from dataclasses import dataclass
from typing import NamedTuple

from entitlements.domain.entity import EntityKey

_FETCH = "refetchEntityEntitlementsAfterCacheMiss"


_PARTS = (":r_", ":f_", ":credit_")
"""What stands between the ids in a name."""
_ENDINGS = (":metadata", "#timestamp")


class Change(NamedTuple):
    """Something in Redis was written or removed."""

    key: EntityKey
    """What it is about."""
    is_whole: bool
    """True for a customer as a whole, on whom its resources depend; a usage alone is none of theirs."""
    with_timestamp: bool = False
    """True where a key and its timestamp were named together, as who writes or removes them does it; a Redis
    that is full gives up one key at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpace:
    """The keys of one environment."""

    prefix: str
    """REDIS_ENVIRONMENT_PREFIX."""
    is_cluster: bool = False
    """True: braces say what belongs together."""

    def entity(self, key: EntityKey) -> str:
        """Where the entitlements of a customer or resource are."""
        resource = "" if key.resource_id is None else f":r_{key.resource_id}"
        return f"{self.prefix}:{self._together(f'c_{key.customer_id}')}{resource}"

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
        """What the process holds that fetches this entity; in a Cluster beside the entity."""
        resource = "" if key.resource_id is None else f":{key.resource_id}"
        customer = self._together(f"c_{key.customer_id}", plain=key.customer_id)
        return f"{self.prefix}:{_FETCH}-{customer}{resource}"

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
        return f"{_escaped(self.prefix)}:{self._opening}c_*"

    def entities_with(self, text: str) -> str:
        """The same pattern of those whose ids hold a text, in whatever case its letters from A to Z are."""
        return f"{self.entities}{''.join(map(_in_any_case, text))}*" if text else self.entities

    def key_of(self, name: bytes) -> EntityKey | None:
        """Whose entitlements stand under that name; None when something else does."""
        try:
            text = name.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return None
        rest = text.removeprefix(f"{self.prefix}:{self._opening}c_")
        if rest == text or rest.endswith(_ENDINGS) or ":f_" in rest or ":credit_" in rest:
            return None
        customer_id, separator, resource_id = rest.partition(f"{self._closing}:r_")
        if separator:
            return EntityKey(customer_id, resource_id)
        return EntityKey(rest.removesuffix(self._closing)) if rest.endswith(self._closing) else None

    @property
    def customers(self) -> bytes:
        """What all names begin with that are about customers, for CLIENT TRACKING."""
        return raw(f"{self.prefix}:{self._opening}c_")

    def change_of(self, rest: bytes) -> "Change | None":
        """Whom a name is about that was written or removed; None where that is no customer.

        Args:
            rest: of the name, behind `customers`.
        """
        try:
            text = rest.removesuffix(b"#timestamp").decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:  # no name of the layout ends in the middle of a character
            return None
        entity, usage, _ = text.partition(":f_")
        if not usage:
            entity, usage, _ = text.removesuffix(":metadata").partition(":credit_")
        customer_id, separator, resource_id = entity.partition("}:r_" if self.is_cluster else ":r_")
        if separator:
            return Change(EntityKey(customer_id, resource_id), is_whole=False)
        return Change(EntityKey(entity.removesuffix(self._closing)), is_whole=not usage)

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
    def fallback_rules(self) -> str:
        """The hash of fallback rules that people set; ours alone."""
        return f"{self.prefix}:sidecar:fallback-rules"

    @property
    def heartbeats(self) -> str:
        """The hash of what each process says of itself; ours alone."""
        return f"{self.prefix}:sidecar:heartbeats"

    @property
    def edge_budget(self) -> str:
        """How much of the budget of requests to the Edge is used; ours alone."""
        return f"{self.prefix}:{self._together('sidecar:edge-budget')}"

    @property
    def audit_turns(self) -> str:
        """Which turns of the drift audit are taken; ours alone."""
        return f"{self.prefix}:{self._together('sidecar:audit-turns')}"

    @property
    def outbox(self) -> str:
        """The stream of writes not yet delivered; ours alone, as are the names that begin with it."""
        return f"{self.prefix}:{self._together('sidecar:outbox')}"

    @property
    def probe(self) -> str:
        """What is written to see whether that is allowed; ours alone."""
        return f"{self.prefix}:{self._together('sidecar:doctor')}"

    def is_of_the_layout(self, name: str) -> bool:
        """True for a name under the prefix that ours or an official service's writers may have written."""
        rest = name.removeprefix(f"{self.prefix}:")
        return rest.startswith((f"{self._opening}c_", _FETCH, "sidecar:", f"{self._opening}sidecar:"))

    def is_a_customers(self, name: str) -> bool:
        """True for a name that is about a customer."""
        return name.startswith(f"{self.prefix}:{self._opening}c_")

    def _together(self, text: str, *, plain: str | None = None) -> str:
        """In a Cluster all names with the same text between braces are on the same node."""
        return f"{{{text}}}" if self.is_cluster else plain or text

    @property
    def _opening(self) -> str:
        return "{" if self.is_cluster else ""

    @property
    def _closing(self) -> str:
        return "}" if self.is_cluster else ""


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


def _in_any_case(letter: str) -> str:
    """Redis compares bytes: a letter beyond ASCII is several, and is looked for as it is typed."""
    if letter.isascii() and letter.isalpha():
        return f"[{letter.lower()}{letter.upper()}]"
    return _escaped(letter)


def _ids(key: EntityKey) -> str:
    return key.customer_id if key.resource_id is None else f"{key.customer_id}:{key.resource_id}"
