"""Drift: in what way what is held of an entity differs from what the cloud has of it, by kind."""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import fields

from entitlements.domain.difference import Difference
from entitlements.domain.entitlement import Entitlement, Usage
from entitlements.domain.entity import Entity

_LIMITS = ("value", "usage_limit", "is_unlimited", "has_soft_limit", "enum_values")


class Drift(enum.Enum):
    """What differs; the `field` of a difference is one of these values."""

    CUSTOMER = "customer"
    """Whether the cloud knows the customer, as its state-level reason says."""
    MISSING = "missing"
    """An entitlement that the cloud has and we do not hold."""
    EXTRA = "extra"
    """An entitlement that we hold and the cloud does not have."""
    ACCESS = "access"
    """Why an entitlement is denied, or which kind it is of."""
    LIMIT = "limit"
    """How much is entitled."""
    USAGE = "usage"
    """How much of it is used."""
    DETAILS = "details"
    """All else: names, units, dates."""


def drift_between(held: Entity, cloud: Entity, *, now_ms: int) -> list[Difference]:
    """Every difference of two states of one entity.

    Usage that we estimate is not compared, nor is that of a period which is over: the cloud counts anew then
    without an event.

    Args:
        held: ours.
        cloud: as the cloud has it.
        now_ms: for what is over.
    """
    found = []
    if held.denied_reason is not cloud.denied_reason:
        found.append(_difference(Drift.CUSTOMER, "", held.denied_reason, cloud.denied_reason))
    ours, theirs = _entitlements(held), _entitlements(cloud)
    for element in {**ours, **theirs}:
        found += _between(element, ours.get(element), theirs.get(element), now_ms)
    return found


def _entitlements(entity: Entity) -> Mapping[str, Entitlement]:
    """All of them; an id may be a feature's and a currency's at once."""
    features: dict[str, Entitlement] = {f"feature {id_}": terms for id_, terms in entity.features.items()}
    return features | {f"currency {id_}": terms for id_, terms in entity.credits.items()}


def _between(
    element: str, ours: Entitlement | None, theirs: Entitlement | None, now_ms: int
) -> Iterator[Difference]:
    if ours is None or theirs is None:
        yield _difference(Drift.MISSING if ours is None else Drift.EXTRA, element, ours, theirs)
        return
    if ours.kind is not theirs.kind:
        yield _difference(Drift.ACCESS, element, ours.kind, theirs.kind)
        return
    other_facets = _facets(theirs)
    for kind, value in _facets(ours).items():
        if kind is Drift.USAGE and not _is_comparable(ours, now_ms):
            continue
        if value != other_facets[kind]:
            yield _difference(kind, element, value, other_facets[kind])


def _facets(terms: Entitlement) -> Mapping[Drift, object]:
    values = {each.name: getattr(terms, each.name) for each in fields(terms)}
    usage: Usage | None = values.pop("usage", None)
    return {
        Drift.ACCESS: values.pop("denied_reason"),
        Drift.LIMIT: {name: values.pop(name) for name in _LIMITS if name in values},
        Drift.USAGE: None if usage is None else usage.current,
        Drift.DETAILS: values,
    }


def _is_comparable(ours: Entitlement, now_ms: int) -> bool:
    usage: Usage | None = getattr(ours, "usage", None)
    if usage is None or usage.is_estimate:
        return False
    return usage.period_end_ms is None or usage.period_end_ms > now_ms


def _difference(kind: Drift, element: str, ours: object, theirs: object) -> Difference:
    return Difference(kind.value, element, repr(ours), repr(theirs))
