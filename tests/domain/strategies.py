"""Entities and updates for properties: few ids, so that two of them meet; stamps that can be kept apart."""

from hypothesis import strategies as st

from entitlements.domain.entitlement import (
    CreditEntitlement,
    EntitlementKind,
    FeatureEntitlement,
    MeterType,
    Usage,
)
from entitlements.domain.entity import Entity, UsageUpdate
from tests.builders import (
    a_boolean_feature,
    a_credit,
    a_metered_feature,
    a_numeric_feature,
    an_entity,
    an_enum_feature,
)

FEATURE_IDS = ("f", "g")
CURRENCY_IDS = ("tokens", "coins")

amounts = st.integers(0, 20).map(float)
ends = st.none() | st.integers(1_000, 1_003)


def stamps(*, parity: int | None = None) -> st.SearchStrategy[int]:
    """Timestamps; those of one parity never equal those of the other."""
    if parity is None:
        return st.integers(1, 12)
    return st.integers(1, 12).map(lambda number: 2 * number + parity)


@st.composite
def usages(draw: st.DrawFn, *, parity: int | None) -> Usage:
    """Stamped readings of a meter."""
    return Usage(current=draw(amounts), period_end_ms=draw(ends), updated_at_ms=draw(stamps(parity=parity)))


@st.composite
def features(draw: st.DrawFn, *, id_: str, parity: int | None) -> FeatureEntitlement:
    """Entitlements of any kind to one feature."""
    kind = draw(st.sampled_from(EntitlementKind))
    match kind:
        case EntitlementKind.BOOLEAN:
            return a_boolean_feature(id_)
        case EntitlementKind.NUMERIC:
            return a_numeric_feature(id_, value=draw(amounts))
        case EntitlementKind.ENUM:
            return an_enum_feature(id_)
        case _:
            meter_type = draw(st.sampled_from([MeterType.INCREMENTAL, MeterType.FLUCTUATING]))
            usage = draw(usages(parity=parity))
            return a_metered_feature(id_, limit=draw(amounts), usage=usage, meter_type=meter_type)


@st.composite
def entities(draw: st.DrawFn, *, parity: int | None = None) -> Entity:
    """Stamped entities over the same few ids; of one parity, all stamps differ from the other's."""
    held = [draw(features(id_=id_, parity=parity)) for id_ in FEATURE_IDS if draw(st.booleans())]
    balances: list[CreditEntitlement] = [
        a_credit(id_, limit=draw(amounts), usage=draw(usages(parity=parity)))
        for id_ in CURRENCY_IDS
        if draw(st.booleans())
    ]
    return an_entity(*held, *balances, updated_at_ms=draw(stamps(parity=parity)))


@st.composite
def updates(draw: st.DrawFn) -> UsageUpdate:
    """Stamped news of a meter or a balance, with or without a period."""
    is_credit = draw(st.booleans())
    return UsageUpdate(
        feature_id=None if is_credit else draw(st.sampled_from(FEATURE_IDS)),
        currency_id=draw(st.sampled_from(CURRENCY_IDS)) if is_credit else None,
        current=draw(amounts),
        updated_at_ms=draw(stamps()),
        period_end_ms=draw(ends),
    )
