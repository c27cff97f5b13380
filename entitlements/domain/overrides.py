"""The overrides in force, as the use cases ask for them."""

from collections.abc import Sequence
from typing import Protocol

from entitlements.domain.decision import Query
from entitlements.domain.entity import EntityKey
from entitlements.domain.override import Override


class Overrides(Protocol):
    """The overrides in force; every method answers at once and from any thread."""

    def of(self, key: EntityKey) -> Sequence[Override]:
        """Those of one customer or resource."""
        ...

    def find(self, query: Query) -> Override | None:
        """The one that answers this query."""
        ...


class NoOverrides:
    """None is ever in force (SIDECAR_OVERRIDES is off)."""

    def of(self, _: EntityKey) -> Sequence[Override]:
        """None."""
        return ()

    def find(self, _: Query) -> Override | None:
        """None."""
        return None


NO_OVERRIDES = NoOverrides()
