"""The twelve methods of stigg.sidecar.v1.SidecarService."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from operator import attrgetter
from typing import TypeAlias, TypeVar

import grpc
from google.protobuf import empty_pb2
from google.protobuf.message import Message

from entitlements.domain.decision import Decision, Query
from entitlements.domain.entity import EntityKey
from entitlements.domain.evaluation import EntitlementList
from entitlements.domain.freshness import EntityState
from entitlements.domain.ports import Lookup, Source
from entitlements.service.answers import Answer, ListAnswer, Provenance
from entitlements.service.cache_maintenance import CacheMaintenance
from entitlements.service.reader import EntitlementReader
from entitlements.service.response_cache import ResponseCache
from entitlements.service.usage_reporter import UsageReporter
from grpc_service.errors import DEADLINE_SPENT, PublicStatus
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.methods import Call, Later, Metadata, Refused, Reply, UnaryMethod, on_loop
from grpc_service.reads import path_of
from grpc_service.translation import requests, responses

WRITE_BUDGET_SECONDS = 60.0
"""A report takes no longer, whatever its deadline (contract/upstream.md, Edge REST)."""

_SOURCE, _STATE, _AGE_MS = "stigg-source", "stigg-state", "stigg-age-ms"
_FRESH_IN_MEMORY: Metadata = (
    (_SOURCE, Source.MEMORY.value.encode()),
    (_STATE, EntityState.FRESH.value.encode()),
)

Request = TypeVar("Request", bound=Message)
Asked = TypeVar("Asked")
Answered = TypeVar("Answered", Answer, ListAnswer)
Decided = TypeVar("Decided", Decision, EntitlementList)
ListRequest: TypeAlias = pb.GetEntitlementsRequest | pb.GetEntitlementsStateV2Request
Result = TypeVar("Result")


class SidecarServicer:
    """Translates, asks the use case, translates back; reads say where their answer came from."""

    def __init__(
        self,
        *,
        reader: EntitlementReader,
        response_cache: ResponseCache,
        usage_reporter: UsageReporter,
        maintenance: CacheMaintenance,
        new_idempotency_key: Callable[[], str],
        sends_provenance: bool,
    ) -> None:
        self._reader = reader
        self._response_cache = response_cache
        self._usage_reporter = usage_reporter
        self._maintenance = maintenance
        self._new_idempotency_key = new_idempotency_key
        self._sends_provenance = sends_provenance

    def methods(self) -> tuple[UnaryMethod, ...]:
        """What can be asked and reported."""
        return (
            # May this customer use this feature?
            self._check(pb.GetBooleanEntitlementRequest, requests.boolean_query, responses.boolean_response),
            # How many does this customer have?
            self._check(pb.GetNumericEntitlementRequest, requests.numeric_query, responses.numeric_response),
            # May this customer use so much more?
            self._check(pb.GetMeteredEntitlementRequest, requests.metered_query, responses.metered_response),
            # May this customer use these values?
            self._check(pb.GetEnumEntitlementRequest, requests.enum_query, responses.enum_response),
            # May this customer use this feature, of whatever type?
            self._check(pb.GetEntitlementRequest, requests.generic_query, responses.generic_response),
            # May this customer use this feature, or spend in this currency?
            self._check(pb.GetEntitlementV2Request, requests.v2_query, responses.v2_response),
            # All features of this customer.
            self._list(pb.GetEntitlementsRequest, responses.list_response),
            # All features and credits of this customer, each decided.
            self._list(pb.GetEntitlementsStateV2Request, responses.state_response),
            self._write(pb.ReportUsageRequest, self._report_usage),
            self._write(pb.ReportUsageBulkRequest, self._report_usage_bulk),
            self._write(pb.ReportEventsRequest, self._report_events),
            self._write(pb.ReloadEntitlementsRequest, self._reload),
        )

    def _check(
        self,
        request_type: type[Request],
        query_of: Callable[[Request], Query],
        respond: Callable[[Decision, Query], Message],
    ) -> UnaryMethod:
        return self._read(
            request_type,
            query_of,
            held=self._reader.check_held,
            unasked=self._reader.check_unasked,
            later=self._reader.check_later,
            decided=attrgetter("decision"),
            respond=respond,
        )

    def _list(
        self, request_type: type[ListRequest], respond: Callable[[EntitlementList, EntityKey], Message]
    ) -> UnaryMethod:
        return self._read(
            request_type,
            requests.entity_key,
            held=self._reader.list_held,
            unasked=self._reader.list_unasked,
            later=self._reader.list_later,
            decided=attrgetter("entitlements"),
            respond=respond,
        )

    def _read(  # noqa: PLR0913 - what checks and lists do each in their own way
        self,
        request_type: type[Request],
        parse: Callable[[Request], Asked],
        *,
        held: Callable[[Asked], Answered | Lookup | None],
        unasked: Callable[[Asked], Answered],
        later: Callable[[Asked, Lookup | None], Awaitable[Answered]],
        decided: Callable[[Answered], Decided],
        respond: Callable[[Decided, Asked], Message],
    ) -> UnaryMethod:
        """A read: what was answered already, what memory holds, and only then what must be waited for."""
        path, response_cache, sends_provenance = (
            _path(request_type),
            self._response_cache,
            self._sends_provenance,
        )

        def reply_of(answer: Answered, asked: Asked) -> Reply:
            return respond(decided(answer), asked).SerializeToString(), self._provenance(answer.provenance)

        async def answer_later(asked: Asked, found: Lookup | None, _: Call) -> Reply:
            return reply_of(await later(asked, found), asked)

        def begin(request: bytes) -> Reply | Later:
            question = (path, request)
            recalled = response_cache.recall(question)
            if recalled is not None:
                message, age_ms = recalled
                return message, (*_FRESH_IN_MEMORY, (_AGE_MS, b"%d" % age_ms)) if sends_provenance else ()
            asked = parse(request_type.FromString(request))
            found = held(asked)
            if found is None or isinstance(found, Lookup):
                return Later(
                    answer=partial(answer_later, asked, found),
                    unasked=lambda: reply_of(unasked(asked), asked),
                )
            reply = reply_of(found, asked)
            if response_cache.is_asked_again(question, found):
                response_cache.remember(question, reply[0], found)
            return reply

        return UnaryMethod(path=path, begin=begin)

    def _write(
        self, request_type: type[Request], write: Callable[[Request, float], Awaitable[Message]]
    ) -> UnaryMethod:
        async def answer(request: bytes, call: Call) -> Reply:
            parsed = request_type.FromString(request)
            response = await _within(call.remaining_seconds, lambda seconds: write(parsed, seconds))
            return response.SerializeToString(), ()

        return UnaryMethod(path=_path(request_type), begin=on_loop(answer))

    async def _report_usage(
        self, request: pb.ReportUsageRequest, budget_seconds: float
    ) -> pb.ReportUsageResponse:
        """Reports usage of one feature."""
        report = requests.usage_report(request, idempotency_key=self._new_idempotency_key())
        return responses.usage_response(
            await self._usage_reporter.report_usage(report, budget_seconds=budget_seconds)
        )

    async def _report_usage_bulk(
        self, request: pb.ReportUsageBulkRequest, budget_seconds: float
    ) -> pb.ReportUsageBulkResponse:
        """Reports up to 100 usages at once."""
        reports = [
            requests.usage_report(usage, idempotency_key=self._new_idempotency_key())
            for usage in request.usages
        ]
        receipts = await self._usage_reporter.report_usage_bulk(reports, budget_seconds=budget_seconds)
        return responses.bulk_response(receipts)

    async def _report_events(self, request: pb.ReportEventsRequest, budget_seconds: float) -> empty_pb2.Empty:
        """Reports raw events."""
        events = [requests.usage_event(event) for event in request.events]
        await self._usage_reporter.report_events(events, budget_seconds=budget_seconds)
        return empty_pb2.Empty()

    async def _reload(
        self, request: pb.ReloadEntitlementsRequest, budget_seconds: float
    ) -> pb.ReloadEntitlementsResponse:
        """Fetches an entity from the API, past every cache."""
        key = requests.entity_key(request)
        exists = await self._maintenance.reload(key, budget_seconds=budget_seconds)
        return pb.ReloadEntitlementsResponse(entitled_entity_exists=exists)

    def _provenance(self, provenance: Provenance) -> Metadata:
        """Where a reply came from, as trailing metadata: clients that do not know it pass it by."""
        if not self._sends_provenance:
            return ()
        source, state, age_ms = provenance.source, provenance.state, provenance.age_ms
        if source is Source.MEMORY and state is EntityState.FRESH:
            metadata = _FRESH_IN_MEMORY
        else:
            known = () if state is None else ((_STATE, state.value.encode()),)
            metadata = ((_SOURCE, source.value.encode()), *known)
        return metadata if age_ms is None else (*metadata, (_AGE_MS, b"%d" % age_ms))


def _path(request_type: type[Message]) -> str:
    """On the wire a method is named after its request."""
    return path_of(request_type.DESCRIPTOR.name.removesuffix("Request"))


async def _within(remaining_seconds: float | None, work: Callable[[float], Awaitable[Result]]) -> Result:
    """Does the work within what the caller's deadline leaves; a deadline that passes gets its own status."""
    budget = (
        WRITE_BUDGET_SECONDS if remaining_seconds is None else min(remaining_seconds, WRITE_BUDGET_SECONDS)
    )
    try:
        async with asyncio.timeout(budget):
            return await work(budget)
    except TimeoutError:
        raise Refused(PublicStatus(grpc.StatusCode.DEADLINE_EXCEEDED, DEADLINE_SPENT)) from None
