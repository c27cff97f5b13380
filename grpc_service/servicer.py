"""The twelve methods of stigg.sidecar.v1.SidecarService."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import grpc
from google.protobuf import empty_pb2

from entitlements.service.reading import Provenance, Reading
from entitlements.service.reporting import Reporting
from grpc_service.errors import DEADLINE_SPENT
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.generated.sidecar_pb2_grpc import SidecarServiceServicer
from grpc_service.translation import requests, responses

WRITE_BUDGET_SECONDS = 60.0
"""A report takes no longer, whatever its deadline (contract/upstream.md, Edge REST)."""

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Result = TypeVar("Result")


class SidecarServicer(SidecarServiceServicer):
    """Translates, asks the use case, translates back; reads tell where their answer came from."""

    def __init__(
        self,
        *,
        reading: Reading,
        reporting: Reporting,
        new_idempotency_key: Callable[[], str],
        tells_provenance: bool,
    ) -> None:
        self._reading = reading
        self._reporting = reporting
        self._new_idempotency_key = new_idempotency_key
        self._tells_provenance = tells_provenance

    async def GetBooleanEntitlement(  # noqa: N802
        self, request: pb.GetBooleanEntitlementRequest, context: Context
    ) -> pb.GetBooleanEntitlementResponse:
        """May this customer use this feature?"""
        answer = await self._reading.check(requests.boolean_query(request))
        self._tell(answer.provenance, context)
        return responses.boolean_response(answer.decision)

    async def GetNumericEntitlement(  # noqa: N802
        self, request: pb.GetNumericEntitlementRequest, context: Context
    ) -> pb.GetNumericEntitlementResponse:
        """How many does this customer have?"""
        answer = await self._reading.check(requests.numeric_query(request))
        self._tell(answer.provenance, context)
        return responses.numeric_response(answer.decision)

    async def GetMeteredEntitlement(  # noqa: N802
        self, request: pb.GetMeteredEntitlementRequest, context: Context
    ) -> pb.GetMeteredEntitlementResponse:
        """May this customer use so much more?"""
        query = requests.metered_query(request)
        answer = await self._reading.check(query)
        self._tell(answer.provenance, context)
        return responses.metered_response(answer.decision, query)

    async def GetEnumEntitlement(  # noqa: N802
        self, request: pb.GetEnumEntitlementRequest, context: Context
    ) -> pb.GetEnumEntitlementResponse:
        """May this customer use these values?"""
        query = requests.enum_query(request)
        answer = await self._reading.check(query)
        self._tell(answer.provenance, context)
        return responses.enum_response(answer.decision, query)

    async def GetEntitlement(  # noqa: N802
        self, request: pb.GetEntitlementRequest, context: Context
    ) -> pb.GetEntitlementResponse:
        """May this customer use this feature, of whatever type?"""
        answer = await self._reading.check(requests.generic_query(request))
        self._tell(answer.provenance, context)
        return responses.generic_response(answer.decision)

    async def GetEntitlementV2(  # noqa: N802
        self, request: pb.GetEntitlementV2Request, context: Context
    ) -> pb.GetEntitlementV2Response:
        """May this customer use this feature, or spend in this currency?"""
        answer = await self._reading.check(requests.v2_query(request))
        self._tell(answer.provenance, context)
        return responses.v2_response(answer.decision)

    async def GetEntitlements(  # noqa: N802
        self, request: pb.GetEntitlementsRequest, context: Context
    ) -> pb.GetEntitlementsResponse:
        """All features of this customer."""
        answer = await self._reading.list(requests.entity_key(request))
        self._tell(answer.provenance, context)
        return responses.list_response(answer.entitlements)

    async def GetEntitlementsStateV2(  # noqa: N802
        self, request: pb.GetEntitlementsStateV2Request, context: Context
    ) -> pb.GetEntitlementsStateV2Response:
        """All features and credits of this customer, each decided."""
        answer = await self._reading.list(requests.entity_key(request))
        self._tell(answer.provenance, context)
        return responses.state_response(answer.entitlements)

    async def ReportUsage(  # noqa: N802
        self, request: pb.ReportUsageRequest, context: Context
    ) -> pb.ReportUsageResponse:
        """Reports usage of one feature."""
        report = requests.usage_report(request, idempotency_key=self._new_idempotency_key())
        receipt = await _within(context, lambda s: self._reporting.report_usage(report, budget_seconds=s))
        return responses.usage_response(receipt)

    async def ReportUsageBulk(  # noqa: N802
        self, request: pb.ReportUsageBulkRequest, context: Context
    ) -> pb.ReportUsageBulkResponse:
        """Reports up to 100 usages at once."""
        reports = [
            requests.usage_report(usage, idempotency_key=self._new_idempotency_key())
            for usage in request.usages
        ]
        receipts = await _within(
            context, lambda s: self._reporting.report_usage_bulk(reports, budget_seconds=s)
        )
        return responses.bulk_response(receipts)

    async def ReportEvents(  # noqa: N802
        self, request: pb.ReportEventsRequest, context: Context
    ) -> empty_pb2.Empty:
        """Reports raw events."""
        events = [requests.usage_event(event) for event in request.events]
        await _within(context, lambda s: self._reporting.report_events(events, budget_seconds=s))
        return empty_pb2.Empty()

    async def ReloadEntitlements(  # noqa: N802
        self, request: pb.ReloadEntitlementsRequest, context: Context
    ) -> pb.ReloadEntitlementsResponse:
        """Fetches an entity from the API, past every cache."""
        key = requests.entity_key(request)
        exists = await _within(context, lambda s: self._reporting.reload(key, budget_seconds=s))
        return pb.ReloadEntitlementsResponse(entitled_entity_exists=exists)

    def _tell(self, provenance: Provenance, context: Context) -> None:
        """Puts the provenance into the trailing metadata, where clients that do not know it pass it by."""
        if not self._tells_provenance:
            return
        metadata = [("stigg-source", provenance.source.value)]
        if provenance.state is not None:
            metadata.append(("stigg-state", provenance.state.value))
        if provenance.age_ms is not None:
            metadata.append(("stigg-age-ms", str(provenance.age_ms)))
        context.set_trailing_metadata(tuple(metadata))


async def _within(context: Context, work: Callable[[float], Awaitable[Result]]) -> Result:
    """Does the work within what the caller's deadline leaves; a deadline that passes is told as such."""
    remaining: float | None = context.time_remaining()  # None without a deadline, whatever its stubs say
    budget = WRITE_BUDGET_SECONDS if remaining is None else min(remaining, WRITE_BUDGET_SECONDS)
    try:
        async with asyncio.timeout(budget):
            return await work(budget)
    except TimeoutError:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, DEADLINE_SPENT)
