"""The API: entitlements, usage reports and events, over GraphQL (contract/upstream.md)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.errors import Garbled, Rejected, RequestTooLarge
from entitlements.domain.ports import Clock, Source
from entitlements.domain.reason import AccessDeniedReason
from entitlements.domain.usage import UsageEvent, UsageReceipt, UsageReport
from entitlements.upstream import graphql_documents as documents
from entitlements.upstream.exchange import Exchange, retrying
from entitlements.upstream.json_values import JsonObject, child
from entitlements.upstream.payloads import denied_reason, entity_from_state, state_in
from entitlements.upstream.report_payloads import event_input, receipt_from_answer, report_input
from entitlements.upstream.shares import (
    DELIVERIES_AT_A_TIME,
    READS_AT_A_TIME,
    WRITES_AT_A_TIME,
    Share,
)
from entitlements.upstream.transport import CloudTransport

QUERY_ATTEMPTS = 3
QUERY_TIMEOUT_SECONDS = 5.0
REPORT_ATTEMPTS = 5
"""Safe, because each report carries its idempotency key through all of them (contract/better.md)."""
REPORT_TIMEOUT_SECONDS = 10.0
_Write = TypeVar("_Write", UsageReport, UsageEvent)
_NO_SUCH_ENTITY = frozenset({"CustomerNotFound", "CustomerResourceNotFound"})


def api_reads(at_a_time: int) -> Share:
    """The share of queries."""
    return Share("api_reads", transport=Source.API.value, at_a_time=at_a_time)


def api_writes() -> Share:
    """The share of reports whose callers wait for the answer."""
    return Share("writes", transport=Source.API.value, at_a_time=WRITES_AT_A_TIME)


def api_deliveries() -> Share:
    """The share of what the outbox delivers."""
    return Share("deliveries", transport=Source.API.value, at_a_time=DELIVERIES_AT_A_TIME)


def _nothing() -> None:
    """No listener."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manner:
    """How operations of one kind are sent."""

    exchange: Exchange
    attempts: int
    attempt_timeout_seconds: float


class GraphqlApi:
    """An EntitySource and a ReportSink."""

    source = Source.API

    def __init__(  # noqa: PLR0913 - what differs between callers' writes and deliveries
        self,
        http: CloudTransport,
        *,
        base_url: str,
        clock: Clock,
        reads: Share | None = None,
        writes: Share | None = None,
        write_attempts: int = REPORT_ATTEMPTS,
        answered: Callable[[], None] = _nothing,
    ) -> None:
        """Asks the API at that address; reads and writes each have a share of requests of their own.

        `answered` is called at each success, of whatever kind.
        """
        reads = reads or api_reads(READS_AT_A_TIME)
        writes = writes or api_writes()
        self._reads = _Manner(
            exchange=Exchange(http, transport=Source.API.value, clock=clock, share=reads, answered=answered),
            attempts=QUERY_ATTEMPTS,
            attempt_timeout_seconds=QUERY_TIMEOUT_SECONDS,
        )
        self._writes = _Manner(
            exchange=Exchange(http, transport=Source.API.value, clock=clock, share=writes, answered=answered),
            attempts=write_attempts,
            attempt_timeout_seconds=REPORT_TIMEOUT_SECONDS,
        )
        self._url = f"{base_url}/graphql"
        self._clock = clock

    async def fetch(self, key: EntityKey, *, budget_seconds: float) -> Entity:
        """The entity's current state; raises UpstreamError."""
        query = {"customerId": key.customer_id}
        if key.resource_id is not None:
            query["resourceId"] = key.resource_id
        try:
            data = await self._ask(
                self._reads,
                "GetEntitlementsState",
                documents.GET_ENTITLEMENTS_STATE,
                {"query": query},
                budget_seconds,
            )
        except Rejected as error:
            if error.code in _NO_SUCH_ENTITY:
                return Entity(denied_reason=denied_reason(AccessDeniedReason.CUSTOMER_NOT_FOUND.value))
            raise
        state = state_in(data)
        if state is None:
            raise Garbled(Source.API.value, "sent an answer without entitlements")
        return entity_from_state(state, now_ms=self._clock.now_ms())

    async def check_key(self, *, budget_seconds: float) -> None:
        """Returns when the API accepts the key; raises UpstreamError."""
        await self._ask(
            self._reads,
            "GetSdkConfiguration",
            documents.GET_SDK_CONFIGURATION,
            {},
            budget_seconds,
        )

    async def report_usage(self, report: UsageReport, *, budget_seconds: float) -> UsageReceipt:
        """Reports one usage; raises UpstreamError."""
        data = await self._ask(
            self._writes,
            "ReportUsage",
            documents.REPORT_USAGE,
            {"input": report_input(report)},
            budget_seconds,
        )
        answer = child(data.get("reportUsage"))
        if answer is None:
            raise Garbled(Source.API.value, "sent an answer without a measurement")
        return receipt_from_answer(answer, report)

    async def report_usage_bulk(
        self, reports: Sequence[UsageReport], *, budget_seconds: float
    ) -> Sequence[UsageReceipt]:
        """Reports at most 100 usages in one call; raises UpstreamError."""
        variables = {"input": {"usages": [report_input(report) for report in reports]}}
        deadline = self._clock.monotonic() + budget_seconds
        try:
            data = await self._ask(
                self._writes, "ReportUsageBulk", documents.REPORT_USAGE_BULK, variables, budget_seconds
            )
        except RequestTooLarge:
            if len(reports) == 1:
                raise
            receipts: list[UsageReceipt] = []
            for half in _halves(reports):
                remaining = deadline - self._clock.monotonic()
                receipts += await self.report_usage_bulk(half, budget_seconds=remaining)
            return receipts
        answers = data.get("reportUsageBulk")
        if not isinstance(answers, list) or len(answers) != len(reports):
            raise Garbled(Source.API.value, "sent another number of measurements than were reported")
        return [
            receipt_from_answer(child(answer) or {}, report)
            for answer, report in zip(answers, reports, strict=True)
        ]

    async def report_events(self, events: Sequence[UsageEvent], *, budget_seconds: float) -> None:
        """Reports at most 1,000 events in one call, or in smaller ones where that is too large a request.

        What is sent twice so is counted once: events carry their timestamps and idempotency keys.
        """
        variables = {"events": {"usageEvents": [event_input(event) for event in events]}}
        deadline = self._clock.monotonic() + budget_seconds
        try:
            await self._ask(self._writes, "ReportEvent", documents.REPORT_EVENT, variables, budget_seconds)
        except RequestTooLarge:
            if len(events) == 1:
                raise
            for half in _halves(events):
                await self.report_events(half, budget_seconds=deadline - self._clock.monotonic())

    async def _ask(
        self,
        manner: _Manner,
        operation: str,
        document: str,
        variables: Mapping[str, Any],
        budget_seconds: float,
    ) -> JsonObject:
        body = {"query": document, "operationName": operation, "variables": variables}

        async def attempt(timeout_seconds: float) -> JsonObject:
            return await manner.exchange.data(
                "POST",
                self._url,
                timeout_seconds=timeout_seconds,
                headers={"x-graphql-operation-name": operation},
                body=body,
            )

        return await retrying(
            attempt,
            transport=Source.API.value,
            budget_seconds=budget_seconds,
            attempts=manner.attempts,
            attempt_timeout_seconds=manner.attempt_timeout_seconds,
        )


def _halves(writes: Sequence[_Write]) -> tuple[Sequence[_Write], Sequence[_Write]]:
    half = len(writes) // 2
    return writes[:half], writes[half:]
