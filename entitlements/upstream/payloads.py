"""The API's JSON of an entity → domain values (contract/upstream.md, The entitlement union)."""

import enum
from sys import intern
from types import MappingProxyType
from typing import Any, TypeVar

from entitlements.domain.entitlement import (
    NO_TIMESTAMP_MS,
    BooleanEntitlement,
    CreditEntitlement,
    CreditRate,
    Currency,
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
from entitlements.domain.entity import Entity
from entitlements.domain.reason import AccessDeniedReason
from entitlements.upstream.json_values import (
    JsonObject,
    child,
    flag,
    identifier,
    moment_ms,
    number,
    skipped,
    text,
)

_FEATURE_FIELDS = (
    *("refId", "featureType", "meterType", "displayName", "description", "featureUnits"),
    *("featureUnitsPlural", "unitTransformation"),
)
_RESET_FIELDS = ("yearlyAccordingTo", "monthlyAccordingTo", "weeklyAccordingTo")

Member = TypeVar("Member", bound=enum.Enum)

MAX_FEATURES_KNOWN = 10_000
"""An account has some hundred; where there are more, they are learned anew."""
_features_known: dict[tuple[object, ...], Feature] = {}
"""By what the API says of them: the same in every customer's answer, so each is made, and held, once."""


_MEMBERS: dict[type[enum.Enum], dict[str, Any]] = {
    members: {member.value: member for member in members} for members in (FeatureType, MeterType, ResetPeriod)
}
"""By name: an enum itself takes three times as long to look one up."""


def state_in(data: JsonObject) -> JsonObject | None:
    """The `entitlementsState` of an answer, or None when it has neither a set nor a reason for an empty one.

    Such an answer says nothing; taken for an empty set it would take every feature away.
    """
    state = child(data.get("entitlementsState"))
    if (
        state is None
        or isinstance(state.get("entitlementsV2"), list)
        or text(state.get("accessDeniedReason"))
    ):
        return state
    return None


def entity_from_state(state: JsonObject, *, now_ms: int) -> Entity:
    """The entity of an `entitlementsState`; what is not understood in it is skipped, and counted."""
    entitlements = state.get("entitlementsV2")
    return entity_from_entitlements(
        entitlements if isinstance(entitlements, list) else [], state.get("accessDeniedReason"), now_ms=now_ms
    )


def entity_from_entitlements(entitlements: list[Any], reason: object, *, now_ms: int) -> Entity:
    """The entity of a list of the entitlement union and a state-level reason.

    Args:
        entitlements: of the API, in its order; the last of two for one feature holds.
        reason: the API's name of it, or None.
        now_ms: stamps a set that the API did not stamp (contract/redis.md, Rules).
    """
    features: dict[str, FeatureEntitlement] = {}
    credits_: dict[str, CreditEntitlement] = {}
    stamps: list[int] = []
    for each in entitlements:
        data = child(each) or {}
        entitlement = _entitlement(data)
        stamp_ms = moment_ms(data.get("entitlementUpdatedAt"))
        if stamp_ms is not None:
            stamps.append(stamp_ms)
        if isinstance(entitlement, CreditEntitlement):
            credits_[entitlement.currency.currency_id] = entitlement
        elif entitlement is not None:
            features[entitlement.feature.id] = entitlement
    unstamped_ms = now_ms if entitlements else NO_TIMESTAMP_MS
    return Entity(
        features=MappingProxyType(features),
        credits=MappingProxyType(credits_),
        denied_reason=denied_reason(reason),
        updated_at_ms=stamps[0] if stamps else unstamped_ms,
        newest_updated_at_ms=max(stamps, default=unstamped_ms),
    )


def denied_reason(name: object) -> AccessDeniedReason | None:
    """The reason of the API's name; an unknown name is UNKNOWN, none is none."""
    if not isinstance(name, str):
        return None
    try:
        return AccessDeniedReason(name)
    except ValueError:
        skipped("reason", name)
        return AccessDeniedReason.UNKNOWN


def _entitlement(data: JsonObject) -> FeatureEntitlement | CreditEntitlement | None:
    match data.get("__typename"):
        case "CreditEntitlement":
            return _credit(data)
        case "FeatureEntitlement":
            return _feature_entitlement(data)
        case unknown:
            skipped("entitlement_type", unknown)
            return None


def _credit(data: JsonObject) -> CreditEntitlement | None:
    currency = _currency(child(data.get("currency")) or {})
    if currency is None:
        skipped("credit_without_currency")
        return None
    return CreditEntitlement(
        currency=currency,
        denied_reason=denied_reason(data.get("accessDeniedReason")),
        valid_until_ms=moment_ms(data.get("validUntil")),
        usage_limit=number(data.get("usageLimit")) or 0.0,
        has_soft_limit=flag(data.get("hasSoftLimit")) or False,
        usage=_usage(data),
    )


def _currency(data: JsonObject) -> Currency | None:
    currency_id = identifier(data.get("currencyId"))
    if not currency_id:
        return None
    return Currency(
        currency_id=intern(currency_id),
        display_name=text(data.get("displayName")) or "",
        description=text(data.get("description")),
        unit_singular=text(data.get("unitSingular")),
        unit_plural=text(data.get("unitPlural")),
        additional_meta_data=child(data.get("additionalMetaData")),
    )


def _feature_entitlement(data: JsonObject) -> FeatureEntitlement | None:
    feature = _feature(child(data.get("feature")) or {})
    if feature is None:
        return None
    rate = data.get("creditRate")
    terms: dict[str, Any] = {
        "feature": feature,
        "denied_reason": denied_reason(data.get("accessDeniedReason")),
        "valid_until_ms": moment_ms(data.get("validUntil")),
        "credit_rate": None if rate is None else _credit_rate(rate),
    }
    match feature.feature_type:
        case FeatureType.BOOLEAN:
            return BooleanEntitlement(**terms)
        case FeatureType.ENUM:
            return EnumEntitlement(**terms, enum_values=_enum_values(data.get("enumValues")))
        case FeatureType.NUMBER if feature.is_metered:
            return _metered(data, terms)
        case FeatureType.NUMBER:
            return NumericEntitlement(
                **terms,
                value=number(data.get("usageLimit")),
                is_unlimited=flag(data.get("hasUnlimitedUsage")) or False,
                has_soft_limit=flag(data.get("hasSoftLimit")),
            )


def _metered(data: JsonObject, terms: dict[str, Any]) -> MeteredEntitlement:
    return MeteredEntitlement(
        **terms,
        usage_limit=number(data.get("usageLimit")),
        is_unlimited=flag(data.get("hasUnlimitedUsage")) or False,
        has_soft_limit=flag(data.get("hasSoftLimit")),
        usage=_usage(data),
        reset_period=_member(ResetPeriod, data.get("resetPeriod"), "reset_period"),
        reset_period_configuration=_reset_configuration(data.get("resetPeriodConfiguration")),
        period_anchor_ms=moment_ms(data.get("usagePeriodAnchor")),
    )


def _feature(data: JsonObject) -> Feature | None:
    given = tuple(map(data.get, _FEATURE_FIELDS))
    try:
        known = _features_known.get(given)
    except TypeError:  # something in it is a list or an object
        return _new_feature(data)
    if known is None:
        known = _new_feature(data)
        # What was skipped is counted each time that it is given.
        if known is not None and (known.meter_type is None) is (data.get("meterType") is None):
            if len(_features_known) >= MAX_FEATURES_KNOWN:
                _features_known.clear()
            _features_known[given] = known
    return known


def _new_feature(data: JsonObject) -> Feature | None:
    id_ = identifier(data.get("refId"))
    feature_type = _member(FeatureType, data.get("featureType"), "feature_type")
    if not id_ or feature_type is None:
        skipped("entitlement_without_feature", id_ or "")
        return None
    return Feature(
        id=intern(id_),
        feature_type=feature_type,
        meter_type=_member(MeterType, data.get("meterType"), "meter_type"),
        display_name=text(data.get("displayName")),
        description=text(data.get("description")),
        units=text(data.get("featureUnits")),
        units_plural=text(data.get("featureUnitsPlural")),
        unit_transformation=_unit_transformation(child(data.get("unitTransformation")) or {}),
    )


def _usage(data: JsonObject) -> Usage:
    return Usage(
        current=number(data.get("currentUsage")) or 0.0,
        period_start_ms=moment_ms(data.get("usagePeriodStart")),
        period_end_ms=moment_ms(data.get("usagePeriodEnd")),
        updated_at_ms=moment_ms(data.get("usageUpdatedAt")) or NO_TIMESTAMP_MS,
    )


def _enum_values(value: object) -> tuple[str, ...]:
    return (
        tuple(intern(each) for each in map(text, value) if each is not None)
        if isinstance(value, list)
        else ()
    )


def _credit_rate(value: object) -> CreditRate | None:
    data = child(value)
    if data is None:
        return None
    amount, currency_id = number(data.get("amount")), identifier(data.get("currencyId"))
    if amount is None or not currency_id:
        return None
    return CreditRate(amount=amount, currency_id=intern(currency_id))


def _unit_transformation(data: JsonObject) -> UnitTransformation | None:
    divide = number(data.get("divide"))
    return None if divide is None else UnitTransformation(divide=divide, round=text(data.get("round")))


def _reset_configuration(value: object) -> ResetPeriodConfiguration | None:
    data = child(value)
    if data is None:
        return None
    for field in _RESET_FIELDS:
        according_to = text(data.get(field))
        if according_to is not None:
            return ResetPeriodConfiguration(field=field, according_to=according_to)
    return None


def _member(members: type[Member], name: object, what: str) -> Member | None:
    if name is None:
        return None
    member = _MEMBERS[members].get(name) if isinstance(name, str) else None
    if member is None:
        skipped(what, name)
    return member
