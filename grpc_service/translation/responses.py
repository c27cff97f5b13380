"""What is answered: value → message (contract/grpc.md, How values map)."""

from collections.abc import Iterable

from entitlements.domain.decision import Decision, Query
from entitlements.domain.entitlement import (
    EntitlementKind,
)
from entitlements.domain.entity import EntityKey
from entitlements.domain.evaluation import EntitlementList
from entitlements.domain.usage import UsageReceipt
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.translation.entitlements import (
    REASONS,
    boolean,
    entitlement,
    entitlement_v2,
    enum,
    fill_arm,
    metered,
    numeric,
    timestamp,
)


def boolean_response(decision: Decision, _: Query | None = None) -> pb.GetBooleanEntitlementResponse:
    """The answer of GetBooleanEntitlement."""
    return pb.GetBooleanEntitlementResponse(
        has_access=decision.has_access,
        is_fallback=decision.is_fallback,
        access_denied_reason=REASONS[decision.reason],
        entitlement=boolean(decision),
    )


def numeric_response(decision: Decision, _: Query | None = None) -> pb.GetNumericEntitlementResponse:
    """The answer of GetNumericEntitlement."""
    return pb.GetNumericEntitlementResponse(
        has_access=decision.has_access,
        is_fallback=decision.is_fallback,
        access_denied_reason=REASONS[decision.reason],
        entitlement=numeric(decision),
    )


def metered_response(decision: Decision, query: Query) -> pb.GetMeteredEntitlementResponse:
    """The answer of GetMeteredEntitlement, with the request's usage."""
    return pb.GetMeteredEntitlementResponse(
        has_access=decision.has_access,
        is_fallback=decision.is_fallback,
        access_denied_reason=REASONS[decision.reason],
        requested_usage=query.requested_usage or 0,
        entitlement=metered(decision),
    )


def enum_response(decision: Decision, query: Query) -> pb.GetEnumEntitlementResponse:
    """The answer of GetEnumEntitlement, with the request's values."""
    return pb.GetEnumEntitlementResponse(
        has_access=decision.has_access,
        is_fallback=decision.is_fallback,
        access_denied_reason=REASONS[decision.reason],
        requested_values=query.requested_values,
        entitlement=enum(decision),
    )


def generic_response(decision: Decision, _: Query | None = None) -> pb.GetEntitlementResponse:
    """The answer of GetEntitlement, in the arm of the decision's kind."""
    response = pb.GetEntitlementResponse(
        has_access=decision.has_access,
        is_fallback=decision.is_fallback,
        access_denied_reason=REASONS[decision.reason],
    )
    fill_arm(response, decision)
    return response


def v2_response(decision: Decision, _: Query | None = None) -> pb.GetEntitlementV2Response:
    """The answer of GetEntitlementV2."""
    return pb.GetEntitlementV2Response(entitlement=entitlement_v2(decision))


def list_response(entitlements: EntitlementList, _: EntityKey | None = None) -> pb.GetEntitlementsResponse:
    """The answer of GetEntitlements: features only."""
    return pb.GetEntitlementsResponse(
        entitlements=[
            entitlement(decision)
            for decision in entitlements.decisions
            if decision.kind is not EntitlementKind.CREDIT
        ],
        access_denied_reason=REASONS[entitlements.reason],
    )


def state_response(
    entitlements: EntitlementList, _: EntityKey | None = None
) -> pb.GetEntitlementsStateV2Response:
    """The answer of GetEntitlementsStateV2: features and credits, each decided."""
    return pb.GetEntitlementsStateV2Response(
        entitlements=[entitlement_v2(decision, in_list=True) for decision in entitlements.decisions],
        access_denied_reason=REASONS[entitlements.reason],
    )


def usage_response(receipt: UsageReceipt) -> pb.ReportUsageResponse:
    """The answer of ReportUsage."""
    return pb.ReportUsageResponse(
        measurement_id=receipt.measurement_id,
        customer_id=receipt.key.customer_id,
        resource_id=receipt.key.resource_id,
        feature_id=receipt.feature_id,
        current_usage=receipt.current_usage,
        usage_period_start=timestamp(receipt.period_start_ms),
        usage_period_end=timestamp(receipt.period_end_ms),
    )


def bulk_response(receipts: Iterable[UsageReceipt]) -> pb.ReportUsageBulkResponse:
    """The answer of ReportUsageBulk."""
    return pb.ReportUsageBulkResponse(usages=[usage_response(receipt) for receipt in receipts])
