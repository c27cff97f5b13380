"""Whole entities for the tests of the tiers, as a source builds them: no object is shared between two."""

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entitlement import (
    BooleanEntitlement,
    CreditEntitlement,
    CreditRate,
    Entitlement,
    EnumEntitlement,
    Feature,
    FeatureEntitlement,
    FeatureType,
    MeteredEntitlement,
    MeterType,
    NumericEntitlement,
    ResetPeriod,
    ResetPeriodConfiguration,
    UnitTransformation,
    Usage,
)
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate
from tests.builders import a_cached_entity, a_credit, a_metered_feature, a_usage, an_entity

NOW_MS = 1_760_000_000_000
CUSTOMER = EntityKey("customer-1")
RESOURCE = EntityKey("customer-1", "resource-1")


def metered(id_: str = "seats", *, current: float = 3.0, usage_at_ms: int = NOW_MS) -> MeteredEntitlement:
    """A counted feature in a period."""
    usage = a_usage(
        current, period_start_ms=NOW_MS - 1000, period_end_ms=NOW_MS + 1000, updated_at_ms=usage_at_ms
    )
    return a_metered_feature(id_, limit=10.0, usage=usage)


def credit(id_: str = "tokens", *, current: float = 3.0, usage_at_ms: int = NOW_MS) -> CreditEntitlement:
    """A balance."""
    return a_credit(id_, limit=100.0, usage=a_usage(current, updated_at_ms=usage_at_ms))


def entity(*terms: Entitlement, at_ms: int = NOW_MS) -> Entity:
    """An entity with these entitlements."""
    return an_entity(*terms, updated_at_ms=at_ms)


def cached(entity: Entity, *, confirmed_at: float = 100.0) -> CachedEntity:
    """The entity, confirmed at that moment."""
    return a_cached_entity(entity, confirmed_at=confirmed_at)


def usage_update(
    *, feature_id: str | None = "seats", current: float = 5.0, at_ms: int = NOW_MS + 1
) -> UsageUpdate:
    """News of one meter, without a period."""
    return UsageUpdate(feature_id=feature_id, current=current, updated_at_ms=at_ms)


def customer_key(number: int) -> EntityKey:
    """The key of the nth customer."""
    return EntityKey(f"customer-{number:08d}")


def big_entity(number: int, *, entitlements: int = 10) -> CachedEntity:
    """A lifelike entity of so many entitlements, every string and number its own object."""
    every = [_lifelike(number, index) for index in range(entitlements)]
    return cached(entity(*every, at_ms=NOW_MS + number), confirmed_at=number + 0.5)


def _lifelike(number: int, index: int) -> FeatureEntitlement:
    feature = Feature(
        id=f"feature-{index:02d}-of-{number}",
        feature_type=FeatureType.NUMBER,
        meter_type=MeterType.INCREMENTAL,
        display_name=f"The feature number {index} of {number}",
        description=f"What this feature does for a customer, in some words: {number}-{index}",
        units=f"unit-{number}-{index}",
        units_plural=f"units-{number}-{index}",
        unit_transformation=UnitTransformation(divide=1000.5 + number, round=f"UP-{number}-{index}"),
    )
    match index % 4:
        case 0:
            return BooleanEntitlement(feature=feature)
        case 1:
            return NumericEntitlement(feature=feature, value=number + 0.5)
        case 2:
            return EnumEntitlement(
                feature=feature, enum_values=tuple(f"value-{number}-{each}" for each in range(3))
            )
        case _:
            return MeteredEntitlement(
                feature=feature,
                valid_until_ms=NOW_MS + number * 11,
                credit_rate=CreditRate(amount=0.5 + number, currency_id=f"currency-{number}"),
                usage_limit=number + 100.5,
                usage=Usage(
                    current=number + 0.25,
                    period_start_ms=NOW_MS + number * 2,
                    period_end_ms=NOW_MS + number * 3,
                    updated_at_ms=NOW_MS + number * 5,
                ),
                reset_period=ResetPeriod.MONTH,
                reset_period_configuration=ResetPeriodConfiguration(
                    field=f"monthlyAccordingTo{number}", according_to=f"SubscriptionStart{number}"
                ),
                period_anchor_ms=NOW_MS + number * 7,
            )
