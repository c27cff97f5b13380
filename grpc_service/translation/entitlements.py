"""What is answered of one entitlement: decision → message (contract/grpc.md, How values map)."""

from collections.abc import Mapping

from google.protobuf import struct_pb2, timestamp_pb2
from google.protobuf.json_format import ParseDict, ParseError

from entitlements.domain.bounds import int32
from entitlements.domain.decision import NO_ENTITLEMENT, Decision
from entitlements.domain.entitlement import (
    BooleanEntitlement,
    CreditEntitlement,
    Currency,
    EntitlementKind,
    EnumEntitlement,
    Feature,
    FeatureType,
    MeteredEntitlement,
    MeterType,
    NumericEntitlement,
    ResetPeriod,
)
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.reason import AccessDeniedReason
from grpc_service.generated import sidecar_pb2 as pb

_MILLISECONDS_A_SECOND = 1000
_NANOSECONDS_A_MILLISECOND = 1_000_000
MAX_STRUCT_DEPTH = 16
"""Of additional meta data; each level is two or three messages deep, and protobuf reads no more than 100."""

REASONS: Mapping[AccessDeniedReason | None, pb.AccessDeniedReason.ValueType | None] = {
    None: None,
    **{
        reason: pb.AccessDeniedReason.Value(f"ACCESS_DENIED_REASON_{reason.name}")
        for reason in AccessDeniedReason
    },
}
_FEATURE_TYPES = {type_: pb.FeatureType.Value(f"FEATURE_TYPE_{type_.name}") for type_ in FeatureType}
_METER_TYPES = {type_: pb.MeterType.Value(f"METER_TYPE_{type_.name}") for type_ in MeterType}
_RESET_PERIODS = {
    period: pb.EntitlementResetPeriod.Value(f"ENTITLEMENT_RESET_PERIOD_{period.name}")
    for period in ResetPeriod
}


def entitlement(decision: Decision) -> pb.Entitlement:
    entitlement = pb.Entitlement()
    fill_arm(entitlement, decision, in_list=True)
    return entitlement


def entitlement_v2(decision: Decision, *, in_list: bool = False) -> pb.EntitlementV2:
    entitlement = pb.EntitlementV2(
        has_access=decision.has_access,
        is_fallback=decision.is_fallback,
        access_denied_reason=None if decision.has_access else REASONS[decision.reason],
    )
    fill_arm(entitlement, decision, in_list=in_list)
    return entitlement


def fill_arm(
    message: pb.Entitlement | pb.EntitlementV2 | pb.GetEntitlementResponse,
    decision: Decision,
    *,
    in_list: bool = False,
) -> None:
    """Sets the oneof; in a list a fallback has to say which feature it is about."""
    if decision.basis is NO_ENTITLEMENT:
        return
    match decision.kind:
        case EntitlementKind.BOOLEAN:
            message.boolean.CopyFrom(boolean(decision, in_list=in_list))
        case EntitlementKind.NUMERIC:
            message.numeric.CopyFrom(numeric(decision, in_list=in_list))
        case EntitlementKind.METERED:
            message.metered.CopyFrom(metered(decision, in_list=in_list))
        case EntitlementKind.ENUM:
            message.enum.CopyFrom(enum(decision, in_list=in_list))
        case EntitlementKind.CREDIT if isinstance(message, pb.EntitlementV2):
            message.credit.CopyFrom(_credit(decision))
        case EntitlementKind.CREDIT:
            pass  # only V2 has an arm for credits, and only V2 asks for them


def boolean(decision: Decision, *, in_list: bool = False) -> pb.BooleanEntitlement:
    match decision.basis:
        case BooleanEntitlement(feature=feature):
            return pb.BooleanEntitlement(feature=_feature(feature))
        case _:
            return pb.BooleanEntitlement(feature=_named(decision, in_list=in_list))


def numeric(decision: Decision, *, in_list: bool = False) -> pb.NumericEntitlement:
    match decision.basis:
        case NumericEntitlement() as numeric:
            return pb.NumericEntitlement(
                feature=_feature(numeric.feature),
                value=_int32(numeric.value),
                is_unlimited=numeric.is_unlimited,
            )
        case FallbackValue() as fallback:
            return pb.NumericEntitlement(
                feature=_named(decision, in_list=in_list),
                value=fallback.value,
                is_unlimited=fallback.is_unlimited or False,
            )
        case _:
            return pb.NumericEntitlement()


def metered(decision: Decision, *, in_list: bool = False) -> pb.MeteredEntitlement:
    match decision.basis:
        case MeteredEntitlement(usage=usage) as metered:
            period_end = timestamp(usage.period_end_ms)
            return pb.MeteredEntitlement(
                feature=_feature(metered.feature),
                usage_limit=metered.usage_limit,
                is_unlimited=metered.is_unlimited,
                current_usage=usage.current,
                reset_period=None if metered.reset_period is None else _RESET_PERIODS[metered.reset_period],
                next_reset_date=period_end,
                usage_period_anchor=timestamp(metered.period_anchor_ms),
                usage_period_start=timestamp(usage.period_start_ms),
                usage_period_end=period_end,
                has_soft_limit=metered.has_soft_limit or False,
            )
        case FallbackValue() as fallback:
            return pb.MeteredEntitlement(
                feature=_named(decision, in_list=in_list),
                usage_limit=fallback.usage_limit,
                is_unlimited=fallback.is_unlimited or False,
                current_usage=fallback.current_usage or 0,
                has_soft_limit=fallback.has_soft_limit or False,
            )
        case _:
            return pb.MeteredEntitlement(has_soft_limit=False)


def enum(decision: Decision, *, in_list: bool = False) -> pb.EnumEntitlement:
    match decision.basis:
        case EnumEntitlement() as enum_:
            return pb.EnumEntitlement(feature=_feature(enum_.feature), enum_values=enum_.enum_values)
        case FallbackValue() as fallback:
            return pb.EnumEntitlement(
                feature=_named(decision, in_list=in_list), enum_values=fallback.enum_values or ()
            )
        case _:
            return pb.EnumEntitlement()


def _credit(decision: Decision) -> pb.CreditEntitlement:
    match decision.basis:
        case CreditEntitlement() as credit:
            return pb.CreditEntitlement(
                currency=_currency(credit.currency),
                usage_limit=credit.usage_limit,
                current_usage=credit.usage.current,
                remaining=credit.remaining,
                usage_period_end=timestamp(credit.usage.period_end_ms),
                has_soft_limit=credit.has_soft_limit,
            )
        case FallbackValue() as fallback:
            limit, used = fallback.usage_limit or 0, fallback.current_usage or 0
            return pb.CreditEntitlement(
                currency=pb.EntitlementCurrency(currency_id=decision.id),
                usage_limit=limit,
                current_usage=used,
                remaining=limit - used,
                has_soft_limit=fallback.has_soft_limit or False,
            )
        case _:
            return pb.CreditEntitlement()


def _named(decision: Decision, *, in_list: bool) -> pb.EntitlementFeature | None:
    """The feature of a fallback: nothing is known of it but its id."""
    return pb.EntitlementFeature(id=decision.id) if in_list else None


def _feature(feature: Feature) -> pb.EntitlementFeature:
    is_metered = feature.is_metered
    unset = "" if is_metered else None  # as the vendor's: Go callers dereference what it sends
    return pb.EntitlementFeature(
        id=feature.id,
        feature_type=_FEATURE_TYPES[feature.feature_type],
        units=unset if feature.units is None else feature.units,
        units_plural=unset if feature.units_plural is None else feature.units_plural,
        meter_type=pb.METER_TYPE_UNSPECIFIED
        if feature.meter_type is None
        else _METER_TYPES[feature.meter_type],
        is_metered=is_metered,
    )


def _currency(currency: Currency) -> pb.EntitlementCurrency:
    return pb.EntitlementCurrency(
        currency_id=currency.currency_id,
        display_name=currency.display_name,
        description=currency.description,
        unit_singular=currency.unit_singular,
        unit_plural=currency.unit_plural,
        additional_meta_data=_struct(currency.additional_meta_data),
    )


def _struct(data: Mapping[str, object] | None) -> struct_pb2.Struct | None:
    """A JSON object as a Struct; one that a Struct cannot hold is left out, or that clients cannot read."""
    if data is None or _is_deeper(data, MAX_STRUCT_DEPTH):
        return None
    try:
        return ParseDict(dict(data), struct_pb2.Struct())
    except (ParseError, ValueError, OverflowError, RecursionError):
        return None


def _is_deeper(value: object, depth: int) -> bool:
    """True when objects and lists lie deeper in each other than this."""
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list):
        return False
    return depth == 0 or any(_is_deeper(each, depth - 1) for each in value)


def _int32(value: float | None) -> int | None:
    return None if value is None else int32(value)


def timestamp(moment_ms: int | None) -> timestamp_pb2.Timestamp | None:
    if moment_ms is None:
        return None
    seconds, milliseconds = divmod(moment_ms, _MILLISECONDS_A_SECOND)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=milliseconds * _NANOSECONDS_A_MILLISECOND)
