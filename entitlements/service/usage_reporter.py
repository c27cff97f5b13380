"""Usage and events towards the cloud: delivered, or the call fails; the cached meter moves at once."""

import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from entitlements.domain.entity import EntityKey
from entitlements.domain.entity_history import Origin
from entitlements.domain.ports import Clock, EntityStore, ReportSink
from entitlements.domain.usage import (
    MAX_EVENTS_PER_CALL,
    UsageEvent,
    UsageReceipt,
    UsageReport,
    validate_events,
    validate_reports,
)
from entitlements.service.fetcher import EntityFetcher

MAX_FIRST_TRIES = 10_000
"""So many events that failed are known again when their callers repeat them."""


class Receipts:
    """What the cloud answered to reports shows in the cached meters."""

    def __init__(self, *, store: EntityStore, fetcher: EntityFetcher) -> None:
        self._store = store
        self._fetcher = fetcher

    async def show(self, receipt: UsageReceipt) -> None:
        """Moves the meters that a report moved."""
        for update in receipt.updates:
            if not await self._store.apply_usage(receipt.key, update, origin=Origin.REPORT):
                self._fetcher.note_usage(receipt.key, update)


class FirstTries:
    """When events without a time of their own were reported first, of those whose call then failed.

    Their caller sends them again with the same key. The cloud knows a repetition by key and time
    (contract/upstream.md), so one that had arrived, and only its answer was lost, would count twice with
    another time.
    """

    def __init__(self) -> None:
        self._tried_at_ms: OrderedDict[tuple[EntityKey, str, str], int] = OrderedDict()

    def note(self, event: UsageEvent, *, tried_at_ms: int) -> None:
        """It failed; the eldest is forgotten where too many did."""
        self._tried_at_ms[_identity(event)] = tried_at_ms
        if len(self._tried_at_ms) > MAX_FIRST_TRIES:
            self._tried_at_ms.popitem(last=False)

    def of(self, event: UsageEvent) -> int | None:
        """When it was tried first; None for what has not failed."""
        return self._tried_at_ms.get(_identity(event))


def _identity(event: UsageEvent) -> tuple[EntityKey, str, str]:
    return event.key, event.event_name, event.idempotency_key


class UsageReporter:
    """Writes fail loudly, with a domain error (contract/grpc.md, Status codes)."""

    def __init__(self, *, sink: ReportSink, receipts: Receipts, clock: Clock) -> None:
        self._sink = sink
        self._receipts = receipts
        self._clock = clock
        self._first_tries = FirstTries()

    async def report_usage(self, report: UsageReport, *, budget_seconds: float) -> UsageReceipt:
        """Reports one usage; the meter it moved shows in the next read.

        Raises:
            InvalidRequest: the report could not be sent.
            UpstreamError: it was rejected, or is not known to have arrived.
        """
        validate_reports([report])
        receipt = await self._sink.report_usage(self._stamped(report), budget_seconds=budget_seconds)
        await self._receipts.show(receipt)
        return receipt

    async def report_usage_bulk(
        self, reports: Sequence[UsageReport], *, budget_seconds: float
    ) -> Sequence[UsageReceipt]:
        """Reports up to 100 usages in one call; raises as `report_usage`."""
        validate_reports(reports, field_prefix="usages")
        if not reports:
            return []
        stamped = [self._stamped(report) for report in reports]
        receipts = await self._sink.report_usage_bulk(stamped, budget_seconds=budget_seconds)
        for receipt in receipts:
            await self._receipts.show(receipt)
        return receipts

    async def report_events(self, events: Sequence[UsageEvent], *, budget_seconds: float) -> None:
        """Reports events in order, in as many calls as it takes; raises as `report_usage`."""
        validate_events(events)
        named = [self._named(event) for event in events]
        deadline = self._clock.monotonic() + budget_seconds
        try:
            for start in range(0, len(events), MAX_EVENTS_PER_CALL):
                remaining = deadline - self._clock.monotonic()
                batch = named[start : start + MAX_EVENTS_PER_CALL]
                await self._sink.report_events(batch, budget_seconds=remaining)
        except BaseException:  # given up by the caller as well: it may have arrived
            self._note_first_tries(events, named)
            raise

    def _stamped(self, report: UsageReport) -> UsageReport:
        if report.created_at_ms is not None:
            return report
        return replace(report, created_at_ms=self._clock.now_ms())

    def _named(self, event: UsageEvent) -> UsageEvent:
        """With a timestamp and a key, before the first attempt: by both the cloud knows a repetition."""
        timestamp_ms = event.timestamp_ms
        if timestamp_ms is None:
            timestamp_ms = self._first_tries.of(event) or self._clock.now_ms()
        return replace(
            event,
            timestamp_ms=timestamp_ms,
            idempotency_key=event.idempotency_key if event.idempotency_key.strip() else str(uuid.uuid4()),
        )

    def _note_first_tries(self, events: Sequence[UsageEvent], named: Sequence[UsageEvent]) -> None:
        """Of those whose key is their caller's, and whose time is ours."""
        for event, sent in zip(events, named, strict=True):
            if event.timestamp_ms is None and sent.timestamp_ms is not None and event.idempotency_key.strip():
                self._first_tries.note(event, tried_at_ms=sent.timestamp_ms)
