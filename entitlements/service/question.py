"""A question as people ask it, on a page or by a command; and its form on the way into a running sidecar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from entitlements.domain.decision import Query
from entitlements.domain.entitlement import EntitlementKind
from entitlements.domain.entity import EntityKey
from entitlements.domain.fallback import FallbackValue

GRANT, DENY = "grant", "deny"
TYPED_KINDS = tuple(kind.value for kind in EntitlementKind if kind is not EntitlementKind.CREDIT)
"""What a typed method can ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person gives; an empty text is as good as none."""

    customer: str
    resource: str | None = None
    feature: str | None = None
    currency: str | None = None
    """Set where it is about no feature."""
    usage: float | None = None
    values: Sequence[str] = ()
    kind: str | None = None
    """As the typed method of this kind asks: one of TYPED_KINDS."""
    fallback: str | None = None
    """GRANT or DENY, as if the call brought it."""

    def query(self) -> Query:
        """What a caller would ask."""
        return Query(
            key=EntityKey(self.customer, self.resource or None),
            feature_id=self.feature or "",
            currency_id=self.currency or None,
            expected_kind=EntitlementKind(self.kind) if self.kind else None,
            requested_usage=self.usage,
            requested_values=tuple(self.values),
            fallback=FallbackValue(has_access=self.fallback == GRANT) if self.fallback else None,
        )


def document_from_query(query: Query) -> dict[str, Any]:
    """As JSON, for the running sidecar."""
    return {
        **query.key._asdict(),
        "feature_id": query.feature_id,
        "currency_id": query.currency_id,
        "expected_kind": query.expected_kind and query.expected_kind.value,
        "requested_usage": query.requested_usage,
        "requested_values": list(query.requested_values),
        "fallback_grants": query.fallback and query.fallback.has_access,
    }


def query_from_document(data: Mapping[str, Any]) -> Query:
    """Reads it back, also from a command of another version, which may leave fields out.

    Raises:
        KeyError: it names no customer.
        TypeError: an id is no text.
        ValueError: the kind is none.
    """
    kind, grants = data.get("expected_kind"), data.get("fallback_grants")
    return Query(
        key=key_from_document(data),
        feature_id=data.get("feature_id") or "",
        currency_id=data.get("currency_id"),
        expected_kind=None if kind is None else EntitlementKind(kind),
        requested_usage=data.get("requested_usage"),
        requested_values=tuple(data.get("requested_values") or ()),
        fallback=None if grants is None else FallbackValue(has_access=bool(grants)),
    )


def key_from_document(data: Mapping[str, Any]) -> EntityKey:
    """Whom it is about; raises as `query_from_document`."""
    customer_id, resource_id = data["customer_id"], data.get("resource_id")
    if not isinstance(customer_id, str) or not isinstance(resource_id, str | None):
        raise TypeError
    return EntityKey(customer_id, resource_id)
