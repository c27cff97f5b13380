"""What a caller asks or reports: message → value (contract/grpc.md, How values map)."""

from collections.abc import Mapping

from google.protobuf import timestamp_pb2

from entitlements.domain.decision import Query
from entitlements.domain.entitlement import (
    EntitlementKind,
)
from entitlements.domain.entity import EntityKey
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.usage import DimensionValue, UpdateBehavior, UsageEvent, UsageReport
from grpc_service.generated import sidecar_pb2 as pb

_MILLISECONDS_A_SECOND = 1000
_NANOSECONDS_A_MILLISECOND = 1_000_000
_UPDATE_BEHAVIORS = {
    pb.USAGE_UPDATE_BEHAVIOR_UNSPECIFIED: None,
    pb.USAGE_UPDATE_BEHAVIOR_DELTA: UpdateBehavior.DELTA,
    pb.USAGE_UPDATE_BEHAVIOR_SET: UpdateBehavior.SET,
}


def boolean_query(request: pb.GetBooleanEntitlementRequest) -> Query:
    """What GetBooleanEntitlement asks."""
    options = request.options
    return Query(
        key=EntityKey(request.customer_id, request.resource_id or None),
        feature_id=request.feature_id,
        expected_kind=EntitlementKind.BOOLEAN,
        fallback=FallbackValue(has_access=options.fallback.has_access)
        if options.HasField("fallback")
        else None,
    )


def numeric_query(request: pb.GetNumericEntitlementRequest) -> Query:
    """What GetNumericEntitlement asks."""
    options = request.options
    return Query(
        key=EntityKey(request.customer_id, request.resource_id or None),
        feature_id=request.feature_id,
        expected_kind=EntitlementKind.NUMERIC,
        fallback=_numeric_fallback(options.fallback) if options.HasField("fallback") else None,
    )


def metered_query(request: pb.GetMeteredEntitlementRequest) -> Query:
    """What GetMeteredEntitlement asks."""
    options = request.options
    return Query(
        key=EntityKey(request.customer_id, request.resource_id or None),
        feature_id=request.feature_id,
        expected_kind=EntitlementKind.METERED,
        requested_usage=options.requested_usage if options.HasField("requested_usage") else None,
        fallback=_metered_fallback(options.fallback) if options.HasField("fallback") else None,
    )


def enum_query(request: pb.GetEnumEntitlementRequest) -> Query:
    """What GetEnumEntitlement asks."""
    options = request.options
    return Query(
        key=EntityKey(request.customer_id, request.resource_id or None),
        feature_id=request.feature_id,
        expected_kind=EntitlementKind.ENUM,
        requested_values=tuple(options.requested_values),
        fallback=_enum_fallback(options.fallback) if options.HasField("fallback") else None,
    )


def generic_query(request: pb.GetEntitlementRequest) -> Query:
    """What GetEntitlement asks."""
    return _generic(request, None)


def v2_query(request: pb.GetEntitlementV2Request) -> Query:
    """What GetEntitlementV2 asks: of a feature or of a currency; an empty id counts as none."""
    return _generic(request, request.currency_id or None)


def _generic(
    request: pb.GetEntitlementRequest | pb.GetEntitlementV2Request, currency_id: str | None
) -> Query:
    options = request.options
    return Query(
        key=EntityKey(request.customer_id, request.resource_id or None),
        feature_id=request.feature_id,
        currency_id=currency_id,
        requested_usage=options.requested_usage if options.HasField("requested_usage") else None,
        requested_values=tuple(options.requested_values),
        fallback=_generic_fallback(options.fallback) if options.HasField("fallback") else None,
    )


def entity_key(
    request: pb.GetEntitlementsRequest | pb.GetEntitlementsStateV2Request | pb.ReloadEntitlementsRequest,
) -> EntityKey:
    """Whose entitlements a list or a reload is about."""
    return EntityKey(request.customer_id, request.resource_id or None)


def usage_report(request: pb.ReportUsageRequest, *, idempotency_key: str) -> UsageReport:
    """What ReportUsage reports."""
    return UsageReport(
        key=EntityKey(request.customer_id, request.resource_id or None),
        feature_id=request.feature_id,
        value=request.value,
        idempotency_key=idempotency_key,
        update_behavior=_UPDATE_BEHAVIORS.get(request.update_behavior),
        dimensions=_dimensions(request.dimensions),
        created_at_ms=_moment_ms(request.timestamp) if request.HasField("timestamp") else None,
    )


def usage_event(event: pb.Event) -> UsageEvent:
    """One event of ReportEvents."""
    return UsageEvent(
        event_name=event.event_name,
        key=EntityKey(event.customer_id, event.resource_id or None),
        idempotency_key=event.idempotency_key,
        dimensions=_dimensions(event.dimensions),
        timestamp_ms=_moment_ms(event.timestamp) if event.HasField("timestamp") else None,
    )


def _numeric_fallback(fallback: pb.NumericEntitlementFallback) -> FallbackValue:
    return FallbackValue(
        has_access=fallback.has_access,
        value=fallback.value if fallback.HasField("value") else None,
        is_unlimited=fallback.is_unlimited if fallback.HasField("is_unlimited") else None,
    )


def _metered_fallback(fallback: pb.MeteredEntitlementFallback) -> FallbackValue:
    return FallbackValue(
        has_access=fallback.has_access,
        usage_limit=fallback.usage_limit if fallback.HasField("usage_limit") else None,
        is_unlimited=fallback.is_unlimited if fallback.HasField("is_unlimited") else None,
    )


def _enum_fallback(fallback: pb.EnumEntitlementFallback) -> FallbackValue:
    return FallbackValue(has_access=fallback.has_access, enum_values=tuple(fallback.enum_values))


def _generic_fallback(fallback: pb.GetEntitlementFallback) -> FallbackValue:
    return FallbackValue(
        has_access=fallback.has_access,
        value=fallback.value if fallback.HasField("value") else None,
        is_unlimited=fallback.is_unlimited if fallback.HasField("is_unlimited") else None,
        usage_limit=fallback.usage_limit if fallback.HasField("usage_limit") else None,
        enum_values=tuple(fallback.enum_values) or None,
    )


def _dimensions(dimensions: Mapping[str, pb.EventDimensionValue]) -> dict[str, DimensionValue]:
    """Plain JSON values; a dimension without a value is left out."""
    arms = {name: (value, value.WhichOneof("value")) for name, value in dimensions.items()}
    return {name: getattr(value, arm) for name, (value, arm) in arms.items() if arm is not None}


def _moment_ms(timestamp: timestamp_pb2.Timestamp) -> int:
    return timestamp.seconds * _MILLISECONDS_A_SECOND + timestamp.nanos // _NANOSECONDS_A_MILLISECOND
