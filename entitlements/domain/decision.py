"""What was asked and what was decided."""

import enum
from dataclasses import dataclass
from typing import TypeAlias

from entitlements.domain.entitlement import Entitlement, EntitlementKind
from entitlements.domain.entity import EntityKey
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.override import Override
from entitlements.domain.reason import AccessDeniedReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """May this customer (or resource) use this feature, or spend in this currency?"""

    key: EntityKey
    feature_id: str = ""
    currency_id: str | None = None
    """Set when a balance is asked for; `feature_id` is empty then."""
    expected_kind: EntitlementKind | None = None
    """What a typed method accepts; None for the generic methods."""
    requested_usage: float | None = None
    requested_values: tuple[str, ...] = ()
    fallback: FallbackValue | None = None
    """The call's own fallback."""

    @property
    def target(self) -> tuple[EntityKey, str, str | None]:
        """What it is about, as an override has it."""
        return self.key, self.feature_id, self.currency_id


class NoEntitlement(enum.Enum):
    """There is an answer from the cloud, and it does not hold what was asked for."""

    NO_ENTITLEMENT = "no entitlement"


NO_ENTITLEMENT = NoEntitlement.NO_ENTITLEMENT

Basis: TypeAlias = Entitlement | FallbackValue | NoEntitlement


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer to a `Query`."""

    has_access: bool
    reason: AccessDeniedReason | None = None
    """Why access is denied; a fallback that grants may carry one too (contract/evaluation.md, section 3)."""
    kind: EntitlementKind
    """The arm in which it is answered."""
    basis: Basis
    """What it was decided from, brought up to date by the clock."""
    id: str = ""
    """The feature's id, or the currency's."""
    override: Override | None = None
    """The one that a person had answer instead of the cloud."""

    @property
    def is_fallback(self) -> bool:
        """True when nothing was known and a configured value answered."""
        return isinstance(self.basis, FallbackValue)


def invalid_field(query: Query) -> str | None:
    """The field that keeps a query from being answered, or None (contract/evaluation.md, section 3)."""
    if not query.key.customer_id:
        return "customer_id"
    if (query.feature_id == "") == (query.currency_id is None):
        return "feature_id"
    return None
