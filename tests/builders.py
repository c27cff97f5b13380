"""Domain values for tests: valid by default, so that a test names only what it is about."""

from types import MappingProxyType
from typing import TypedDict, Unpack

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.decision import Query
from entitlements.domain.entitlement import (
    BooleanEntitlement,
    CreditEntitlement,
    CreditRate,
    Currency,
    Entitlement,
    EntitlementKind,
    EnumEntitlement,
    Feature,
    FeatureType,
    MeteredEntitlement,
    MeterType,
    NumericEntitlement,
    ResetPeriod,
    ResetPeriodConfiguration,
    Usage,
)
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.override import Override
from entitlements.domain.reason import AccessDeniedReason
from entitlements.domain.usage import UsageEvent, UsageReport

NOW_MS = 1_750_000_000_000
"""A moment in June 2025."""
STAMP_MS = 1
"""When everything was written that does not say otherwise: long ago, but stamped."""
A_KEY = EntityKey("customer-1")


class Terms(TypedDict, total=False):
    """What any feature entitlement may carry."""

    denied_reason: AccessDeniedReason | None
    valid_until_ms: int | None
    credit_rate: CreditRate | None


class MeteredTerms(Terms, total=False):
    """What a metered one may carry besides."""

    is_unlimited: bool
    has_soft_limit: bool | None
    reset_period: ResetPeriod | None
    reset_period_configuration: ResetPeriodConfiguration | None
    period_anchor_ms: int | None


class CreditTerms(TypedDict, total=False):
    """What a balance may carry."""

    denied_reason: AccessDeniedReason | None
    valid_until_ms: int | None
    has_soft_limit: bool


class OverrideTerms(TypedDict, total=False):
    """What an override may carry."""

    usage_limit: float | None
    value: int | None
    enum_values: tuple[str, ...] | None


class Request(TypedDict, total=False):
    """What a query about a feature may hold besides the feature."""

    expected_kind: EntitlementKind | None
    requested_usage: float | None
    requested_values: tuple[str, ...]
    fallback: FallbackValue | None


def a_usage(
    current: float = 0.0,
    *,
    updated_at_ms: int = STAMP_MS,
    period_start_ms: int | None = None,
    period_end_ms: int | None = None,
) -> Usage:
    """A meter's reading, of no period."""
    return Usage(
        current=current,
        updated_at_ms=updated_at_ms,
        period_start_ms=period_start_ms,
        period_end_ms=period_end_ms,
    )


def a_feature(
    id: str = "f",  # noqa: A002 - as the field is called
    *,
    feature_type: FeatureType = FeatureType.BOOLEAN,
    meter_type: MeterType | None = None,
) -> Feature:
    """A feature, of a boolean kind."""
    return Feature(id=id, feature_type=feature_type, meter_type=meter_type)


def a_boolean_feature(
    id: str = "flag",  # noqa: A002 - as the field is called
    **terms: Unpack[Terms],
) -> BooleanEntitlement:
    """A granted feature."""
    return BooleanEntitlement(feature=a_feature(id), **terms)


def a_numeric_feature(
    id: str = "quota",  # noqa: A002 - as the field is called
    *,
    value: float | None = 5.0,
    is_unlimited: bool = False,
    meter_type: MeterType | None = MeterType.NONE,
    **terms: Unpack[Terms],
) -> NumericEntitlement:
    """A granted number that is not counted."""
    feature = a_feature(id, feature_type=FeatureType.NUMBER, meter_type=meter_type)
    return NumericEntitlement(feature=feature, value=value, is_unlimited=is_unlimited, **terms)


def a_metered_feature(
    id: str = "seats",  # noqa: A002 - as the field is called
    *,
    limit: float | None = 5.0,
    usage: Usage | None = None,
    meter_type: MeterType = MeterType.INCREMENTAL,
    **terms: Unpack[MeteredTerms],
) -> MeteredEntitlement:
    """A granted meter with a limit, nothing used."""
    feature = a_feature(id, feature_type=FeatureType.NUMBER, meter_type=meter_type)
    return MeteredEntitlement(feature=feature, usage_limit=limit, usage=usage or a_usage(), **terms)


def an_enum_feature(
    id: str = "regions",  # noqa: A002 - as the field is called
    *,
    values: tuple[str, ...] = ("eu", "us"),
    **terms: Unpack[Terms],
) -> EnumEntitlement:
    """A granted set of values."""
    feature = a_feature(id, feature_type=FeatureType.ENUM)
    return EnumEntitlement(feature=feature, enum_values=values, **terms)


def a_credit(
    currency_id: str = "tokens",
    *,
    limit: float = 5.0,
    usage: Usage | None = None,
    **terms: Unpack[CreditTerms],
) -> CreditEntitlement:
    """A balance of which nothing is spent."""
    currency = Currency(currency_id=currency_id)
    return CreditEntitlement(currency=currency, usage_limit=limit, usage=usage or a_usage(), **terms)


def an_entity(
    *entitlements: Entitlement,
    denied_reason: AccessDeniedReason | None = None,
    updated_at_ms: int = STAMP_MS,
) -> Entity:
    """An entity with these entitlements, in this order."""
    features = {each.feature.id: each for each in entitlements if not isinstance(each, CreditEntitlement)}
    credits_ = {
        each.currency.currency_id: each for each in entitlements if isinstance(each, CreditEntitlement)
    }
    return Entity(
        features=MappingProxyType(features),
        credits=MappingProxyType(credits_),
        denied_reason=denied_reason,
        updated_at_ms=updated_at_ms,
    )


def a_cached_entity(
    entity: Entity | None = None, *, confirmed_at: float = 0.0, failed_at: float | None = None
) -> CachedEntity:
    """An entity as a tier holds it."""
    return CachedEntity(
        entity=an_entity(a_boolean_feature()) if entity is None else entity,
        confirmed_at=confirmed_at,
        failed_at=failed_at,
    )


def a_query(feature_id: str = "f", *, key: EntityKey = A_KEY, **request: Unpack[Request]) -> Query:
    """A generic question about a feature, without a request."""
    return Query(key=key, feature_id=feature_id, **request)


def a_credit_query(
    currency_id: str = "tokens", *, key: EntityKey = A_KEY, requested_usage: float | None = None
) -> Query:
    """A question about a balance, without a request."""
    return Query(key=key, currency_id=currency_id, requested_usage=requested_usage)


def a_report(
    feature_id: str = "seats",
    *,
    key: EntityKey = A_KEY,
    value: float = 1.0,
    dimensions: dict[str, str | float | bool] | None = None,
    created_at_ms: int | None = None,
) -> UsageReport:
    """A report of one unit."""
    return UsageReport(
        key=key,
        feature_id=feature_id,
        value=value,
        idempotency_key="report-1",
        dimensions=dimensions or {},
        created_at_ms=created_at_ms,
    )


def an_event(
    event_name: str = "call",
    *,
    key: EntityKey = A_KEY,
    idempotency_key: str = "event-1",
    dimensions: dict[str, str | float | bool] | None = None,
    timestamp_ms: int | None = None,
) -> UsageEvent:
    """A raw event without dimensions."""
    return UsageEvent(
        event_name=event_name,
        key=key,
        idempotency_key=idempotency_key,
        dimensions=dimensions or {},
        timestamp_ms=timestamp_ms,
    )


def an_override(
    feature_id: str = "f",
    *,
    currency_id: str | None = None,
    key: EntityKey = A_KEY,
    has_access: bool = True,
    begins_ms: int = NOW_MS,
    lasts_ms: int = 3_600_000,
    **terms: Unpack[OverrideTerms],
) -> Override:
    """A grant of an hour, without terms."""
    return Override(
        id=f"{feature_id}-{begins_ms}",
        key=key,
        feature_id=feature_id,
        currency_id=currency_id,
        has_access=has_access,
        reason="they call every minute",
        author="on-call",
        begins_ms=begins_ms,
        ends_ms=begins_ms + lasts_ms,
        **terms,
    )
