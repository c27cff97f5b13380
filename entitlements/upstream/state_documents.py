"""Domain values → the API's JSON of an entity, as `payloads` reads it (contract/upstream.md)."""

from collections.abc import Mapping
from typing import Any

from entitlements.domain.entitlement import (
    NO_TIMESTAMP_MS,
    NO_USAGE,
    BooleanEntitlement,
    CreditEntitlement,
    EnumEntitlement,
    Feature,
    FeatureEntitlement,
    MeteredEntitlement,
    NumericEntitlement,
    Usage,
)
from entitlements.domain.entity import Entity
from entitlements.domain.moments import iso_from_ms
from entitlements.domain.reason import AccessDeniedReason


def state_from_entity(entity: Entity) -> dict[str, Any]:
    """The `entitlementsState` that `entity_from_state` reads as this entity."""
    stamp = {"entitlementUpdatedAt": _moment(entity.updated_at_ms or None)}
    features = [_feature_entitlement(each) | stamp for each in entity.features.values()]
    credits_ = [_credit(each) | stamp for each in entity.credits.values()]
    return {"accessDeniedReason": _reason(entity.denied_reason), "entitlementsV2": [*features, *credits_]}


def _feature_entitlement(entitlement: FeatureEntitlement) -> dict[str, Any]:
    rate = entitlement.credit_rate
    return {
        "__typename": "FeatureEntitlement",
        "isGranted": entitlement.denied_reason is None,
        "accessDeniedReason": _reason(entitlement.denied_reason),
        "feature": _feature(entitlement.feature),
        "validUntil": _moment(entitlement.valid_until_ms),
        "creditRate": None if rate is None else {"amount": rate.amount, "currencyId": rate.currency_id},
        **_own_terms(entitlement),
    }


def _own_terms(entitlement: FeatureEntitlement) -> Mapping[str, object]:
    match entitlement:
        case BooleanEntitlement():
            return {}
        case EnumEntitlement():
            return {"enumValues": list(entitlement.enum_values)}
        case NumericEntitlement():
            return {
                "usageLimit": entitlement.value,
                "hasUnlimitedUsage": entitlement.is_unlimited,
                "hasSoftLimit": entitlement.has_soft_limit,
            }
        case MeteredEntitlement():
            period = entitlement.reset_period
            configuration = entitlement.reset_period_configuration
            return {
                "usageLimit": entitlement.usage_limit,
                "hasUnlimitedUsage": entitlement.is_unlimited,
                "hasSoftLimit": entitlement.has_soft_limit,
                "usagePeriodAnchor": _moment(entitlement.period_anchor_ms),
                "resetPeriod": None if period is None else period.value,
                "resetPeriodConfiguration": None
                if configuration is None
                else {configuration.field: configuration.according_to},
                **_usage(entitlement.usage),
            }


def _credit(entitlement: CreditEntitlement) -> dict[str, Any]:
    currency = entitlement.currency
    meta_data = currency.additional_meta_data
    return {
        "__typename": "CreditEntitlement",
        "isGranted": entitlement.denied_reason is None,
        "accessDeniedReason": _reason(entitlement.denied_reason),
        "currency": {
            "currencyId": currency.currency_id,
            "displayName": currency.display_name,
            "description": currency.description,
            "unitSingular": currency.unit_singular,
            "unitPlural": currency.unit_plural,
            "additionalMetaData": None if meta_data is None else dict(meta_data),
        },
        "usageLimit": entitlement.usage_limit,
        "hasSoftLimit": entitlement.has_soft_limit,
        "validUntil": _moment(entitlement.valid_until_ms),
        **_usage(entitlement.usage),
    }


def _feature(feature: Feature) -> dict[str, Any]:
    transformation = feature.unit_transformation
    return {
        "refId": feature.id,
        "featureType": feature.feature_type.value,
        "meterType": None if feature.meter_type is None else feature.meter_type.value,
        "displayName": feature.display_name,
        "description": feature.description,
        "featureUnits": feature.units,
        "featureUnitsPlural": feature.units_plural,
        "unitTransformation": None
        if transformation is None
        else {"divide": transformation.divide, "round": transformation.round},
    }


def _usage(usage: Usage) -> dict[str, Any]:
    if usage == NO_USAGE:
        return {}
    return {
        "currentUsage": usage.current,
        "usagePeriodStart": _moment(usage.period_start_ms),
        "usagePeriodEnd": _moment(usage.period_end_ms),
        "usageUpdatedAt": _moment(None if usage.updated_at_ms == NO_TIMESTAMP_MS else usage.updated_at_ms),
    }


def _reason(reason: AccessDeniedReason | None) -> str | None:
    return None if reason is None else reason.value


def _moment(moment_ms: int | None) -> str | None:
    return None if moment_ms is None else iso_from_ms(moment_ms)
