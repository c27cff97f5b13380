"""Entitlements as JSON documents: the entries of an entity's map, and the usage keys (contract/redis.md)."""

from collections.abc import Mapping

from entitlements.domain.entitlement import (
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
from entitlements.domain.entity import EntityKey
from entitlements.json_fields import plain_number


def feature_entry(key: EntityKey, entitlement: FeatureEntitlement) -> dict[str, object]:
    rate = entitlement.credit_rate
    calculated = {
        "type": "FEATURE",
        "feature": _feature_document(entitlement.feature),
        "resourceId": key.resource_id,
        "usageLimit": None,
        "hasUnlimitedUsage": False,
        "hasSoftLimit": None,
        "accessDeniedReason": entitlement.denied_reason and entitlement.denied_reason.value,
        "enumValues": None,
        "validUntil": entitlement.valid_until_ms,
        "creditRate": rate and {"amount": plain_number(rate.amount), "currencyId": rate.currency_id},
        "usagePeriodAnchor": None,
        "resetPeriod": None,
        "resetPeriodConfiguration": None,
        **_own_terms(entitlement),
    }
    usage = entitlement.usage if isinstance(entitlement, MeteredEntitlement) else NO_USAGE
    return {"calculatedEntitlement": calculated, "usageData": _stamped_usage_document(usage)}


def credit_entry(entitlement: CreditEntitlement) -> dict[str, object]:
    """The entry of a balance."""
    currency = entitlement.currency
    meta_data = currency.additional_meta_data
    calculated = {
        "type": "CREDIT",
        "currency": {
            "currencyId": currency.currency_id,
            "displayName": currency.display_name,
            "description": currency.description,
            "unitSingular": currency.unit_singular,
            "unitPlural": currency.unit_plural,
            "additionalMetaData": None if meta_data is None else dict(meta_data),
        },
        "usageLimit": plain_number(entitlement.usage_limit),
        "hasSoftLimit": entitlement.has_soft_limit,
        "accessDeniedReason": entitlement.denied_reason and entitlement.denied_reason.value,
        "validUntil": entitlement.valid_until_ms,
    }
    return {"calculatedEntitlement": calculated, "usageData": _stamped_usage_document(entitlement.usage)}


def usage_document(usage: Usage) -> dict[str, object]:
    """What a meter or balance stands at."""
    return {
        "currentUsage": plain_number(usage.current),
        "usagePeriodStart": usage.period_start_ms,
        "usagePeriodEnd": usage.period_end_ms,
    }


def _stamped_usage_document(usage: Usage) -> dict[str, object]:
    return usage_document(usage) | {"usageUpdatedAt": usage.updated_at_ms or None}


def _own_terms(entitlement: FeatureEntitlement) -> Mapping[str, object]:
    match entitlement:
        case BooleanEntitlement():
            return {}
        case EnumEntitlement():
            return {"enumValues": list(entitlement.enum_values)}
        case NumericEntitlement():
            return {
                "usageLimit": plain_number(entitlement.value),
                "hasUnlimitedUsage": entitlement.is_unlimited,
                "hasSoftLimit": entitlement.has_soft_limit,
            }
        case MeteredEntitlement():
            configuration = entitlement.reset_period_configuration
            return {
                "usageLimit": plain_number(entitlement.usage_limit),
                "hasUnlimitedUsage": entitlement.is_unlimited,
                "hasSoftLimit": entitlement.has_soft_limit,
                "usagePeriodAnchor": entitlement.period_anchor_ms,
                "resetPeriod": entitlement.reset_period and entitlement.reset_period.value,
                "resetPeriodConfiguration": configuration
                and {configuration.field: configuration.according_to},
            }


def _feature_document(feature: Feature) -> dict[str, object]:
    transformation = feature.unit_transformation
    return {
        "id": feature.id,
        "displayName": feature.display_name,
        "featureType": feature.feature_type.value,
        "meterType": feature.meter_type and feature.meter_type.value,
        "units": feature.units,
        "unitsPlural": feature.units_plural,
        "description": feature.description,
        "unitTransformation": transformation
        and {"divide": plain_number(transformation.divide), "round": transformation.round},
    }
