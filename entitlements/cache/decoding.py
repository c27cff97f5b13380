"""Entitlements from JSON documents, also of their older form (contract/redis.md)."""

from types import MappingProxyType
from typing import Any, TypeVar

from entitlements.domain.entitlement import (
    NO_TIMESTAMP_MS,
    BooleanEntitlement,
    CreditEntitlement,
    CreditRate,
    Currency,
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
from entitlements.domain.reason import AccessDeniedReason
from entitlements.json_fields import Fields

_RESET_CONFIGURATIONS = ("yearlyAccordingTo", "monthlyAccordingTo", "weeklyAccordingTo")
_FEATURE_FIELDS = (
    *("id", "featureType", "meterType", "displayName", "description", "units", "unitsPlural"),
    "unitTransformation",
)
MAX_FEATURES_KNOWN = 10_000
"""An account has some hundred; where there are more, they are learned anew."""
_features_known: dict[tuple[object, ...], Feature] = {}
"""By what their documents hold: the same in every customer's, so each is made, and held, once."""
_Named = TypeVar("_Named", FeatureType, MeterType, ResetPeriod, AccessDeniedReason)
_MEMBERS: dict[type, dict[str | None, Any]] = {
    members: {member.value: member for member in members}
    for members in (FeatureType, MeterType, ResetPeriod, AccessDeniedReason)
}
"""By name: an enum itself takes three times as long to look one up."""


def entitlement_from(entry: Fields) -> Entitlement | None:
    """What an entry of an entity's map says; None for what is neither a feature nor a credit of a known kind.

    Raises:
        Malformed: a field is of the wrong type.
    """
    terms = entry.nested("calculatedEntitlement")
    usage = entry.nested("usageData") or entry.nested("featureUsage") or Fields({}, "usageData")
    if terms is None:
        return None
    type_ = terms.text("type") or "FEATURE"
    if type_ == "FEATURE" and terms.has("feature"):
        return _feature_entry(terms, usage)
    if type_ == "CREDIT" and terms.has("currency"):
        return _credit_entry(terms, usage)
    return None


def usage_from(fields: Fields) -> Usage:
    """What a meter or balance stands at."""
    end_ms = fields.moment("usagePeriodEnd")
    return Usage(
        current=fields.number("currentUsage") or 0.0,
        period_start_ms=fields.moment("usagePeriodStart"),
        period_end_ms=fields.moment("nextResetDate") if end_ms is None else end_ms,
        updated_at_ms=fields.moment("usageUpdatedAt") or NO_TIMESTAMP_MS,
    )


def reason_from(fields: Fields) -> AccessDeniedReason | None:
    """The denial; UNKNOWN for one that has no name here."""
    name = fields.text("accessDeniedReason")
    if name is None:
        return None
    return _member(AccessDeniedReason, name) or AccessDeniedReason.UNKNOWN


def _feature_entry(terms: Fields, usage: Fields) -> FeatureEntitlement | None:
    feature = _feature(terms.nested("feature") or terms)
    if feature is None:
        return None
    common: dict[str, Any] = {
        "feature": feature,
        "denied_reason": reason_from(terms),
        "valid_until_ms": terms.moment("validUntil"),
        "credit_rate": _credit_rate(terms.nested("creditRate")),
    }
    if feature.feature_type is FeatureType.BOOLEAN:
        return BooleanEntitlement(**common)
    if feature.feature_type is FeatureType.ENUM:
        return EnumEntitlement(**common, enum_values=terms.texts("enumValues"))
    limit = terms.number("usageLimit")
    common["is_unlimited"] = bool(terms.flag("hasUnlimitedUsage"))
    common["has_soft_limit"] = terms.flag("hasSoftLimit")
    if not feature.is_metered:
        return NumericEntitlement(**common, value=limit)
    anchored = terms if terms.has("usagePeriodAnchor") else usage  # the older form has all three in the usage
    resetting = terms if terms.has("resetPeriod") else usage
    configured = terms if terms.has("resetPeriodConfiguration") else usage
    return MeteredEntitlement(
        **common,
        usage_limit=limit,
        usage=usage_from(usage),
        reset_period=_member(ResetPeriod, resetting.text("resetPeriod")),
        reset_period_configuration=_reset_configuration(configured.nested("resetPeriodConfiguration")),
        period_anchor_ms=anchored.moment("usagePeriodAnchor"),
    )


def _feature(fields: Fields) -> Feature | None:
    raw_feature = fields.raw(_FEATURE_FIELDS)
    try:
        known = _features_known.get(raw_feature)
    except TypeError:  # something in it is a list or an object
        return _new_feature(fields)
    if known is None:
        known = _new_feature(fields)
        if known is not None:
            if len(_features_known) >= MAX_FEATURES_KNOWN:
                _features_known.clear()
            _features_known[raw_feature] = known
    return known


def _new_feature(fields: Fields) -> Feature | None:
    feature_type = _member(FeatureType, fields.text("featureType"))
    if feature_type is None:
        return None
    return Feature(
        id=fields.required_text("id"),
        feature_type=feature_type,
        meter_type=_member(MeterType, fields.text("meterType")),
        display_name=fields.text("displayName"),
        description=fields.text("description"),
        units=fields.text("units"),
        units_plural=fields.text("unitsPlural"),
        unit_transformation=_transformation(fields.nested("unitTransformation")),
    )


def _transformation(fields: Fields | None) -> UnitTransformation | None:
    divide = None if fields is None else fields.number("divide")
    if fields is None or divide is None:
        return None
    return UnitTransformation(divide=divide, round=fields.text("round"))


def _credit_rate(fields: Fields | None) -> CreditRate | None:
    if fields is None:
        return None
    return CreditRate(amount=fields.number("amount") or 0.0, currency_id=fields.required_text("currencyId"))


def _reset_configuration(fields: Fields | None) -> ResetPeriodConfiguration | None:
    for name in _RESET_CONFIGURATIONS:
        according_to = None if fields is None else fields.text(name)
        if according_to is not None:
            return ResetPeriodConfiguration(field=name, according_to=according_to)
    return None


def _credit_entry(terms: Fields, usage: Fields) -> CreditEntitlement:
    fields = terms.nested("currency") or terms
    meta_data = fields.raw_object("additionalMetaData")
    return CreditEntitlement(
        currency=Currency(
            currency_id=fields.required_text("currencyId"),
            display_name=fields.text("displayName") or "",
            description=fields.text("description"),
            unit_singular=fields.text("unitSingular"),
            unit_plural=fields.text("unitPlural"),
            additional_meta_data=None if meta_data is None else MappingProxyType(meta_data),
        ),
        denied_reason=reason_from(terms),
        valid_until_ms=terms.moment("validUntil"),
        usage_limit=terms.number("usageLimit") or 0.0,
        has_soft_limit=bool(terms.flag("hasSoftLimit")),
        usage=usage_from(usage),
    )


def _member(kind: type[_Named], name: str | None) -> _Named | None:
    member: _Named | None = _MEMBERS[kind].get(name)
    return member
