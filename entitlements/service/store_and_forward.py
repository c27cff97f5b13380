"""The cloud with the outbox behind it: what the cloud cannot take now is kept and delivered later.

What comes here carries its timestamp and its idempotency key (`reporting`): an attempt that ended without an
answer may have arrived, and the cloud must know its repetition again.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

from entitlements.domain.entitlement import MeteredEntitlement
from entitlements.domain.entity import EntityKey
from entitlements.domain.entity_history import Origin
from entitlements.domain.errors import Garbled, Rejected, Throttled, Unreachable
from entitlements.domain.estimation import estimated
from entitlements.domain.outbox import Write
from entitlements.domain.ports import Clock, EntityStore, ReportSink
from entitlements.domain.usage import UpdateBehavior, UsageEvent, UsageReceipt, UsageReport
from entitlements.service.outbox_dispatcher import OutboxDispatcher

DIRECT_SHARE = 0.5
"""Of the caller's time for asking the cloud; the rest is for keeping what it did not take."""
DIRECT_SECONDS = 5.0
"""The cloud is given no longer than this before a write is kept."""

_Answer = TypeVar("_Answer")
_Basis: TypeAlias = Mapping[tuple[EntityKey, str], int | None]


class StoreAndForwardSink:
    """A ReportSink that answers also while the cloud does not."""

    def __init__(
        self,
        *,
        sink: ReportSink,
        dispatcher: OutboxDispatcher,
        store: EntityStore,
        clock: Clock,
        keeps_usage: bool,
    ) -> None:
        self._sink = sink
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._keeps_usage = keeps_usage

    async def report_events(self, events: Sequence[UsageEvent], *, budget_seconds: float) -> None:
        """Reports events, or keeps them; raises UpstreamError, Overloaded or OutboxUnavailable."""
        await self._sent_or_kept(
            events, lambda seconds: self._sink.report_events(events, budget_seconds=seconds), budget_seconds
        )

    async def report_usage(self, report: UsageReport, *, budget_seconds: float) -> UsageReceipt:
        """Reports one usage, or keeps it, as `report_events`."""
        if not self._keeps_usage:
            return await self._sink.report_usage(report, budget_seconds=budget_seconds)
        basis = self._basis_of([report])
        receipt = await self._sent_or_kept(
            [report],
            lambda seconds: self._sink.report_usage(report, budget_seconds=seconds),
            budget_seconds,
        )
        return receipt if receipt is not None else await self._promise(report, basis)

    async def report_usage_bulk(
        self, reports: Sequence[UsageReport], *, budget_seconds: float
    ) -> Sequence[UsageReceipt]:
        """Reports usages, or keeps them all, as `report_events`."""
        if not self._keeps_usage:
            return await self._sink.report_usage_bulk(reports, budget_seconds=budget_seconds)
        basis = self._basis_of(reports)
        receipts = await self._sent_or_kept(
            reports,
            lambda seconds: self._sink.report_usage_bulk(reports, budget_seconds=seconds),
            budget_seconds,
        )
        return (
            receipts if receipts is not None else [await self._promise(report, basis) for report in reports]
        )

    async def _sent_or_kept(
        self, writes: Sequence[Write], send: Callable[[float], Awaitable[_Answer]], budget_seconds: float
    ) -> _Answer | None:
        """The cloud's answer; None once the outbox has them, behind those that wait already."""
        if not await self._would_overtake(writes):
            try:
                return await send(min(budget_seconds * DIRECT_SHARE, DIRECT_SECONDS))
            except (Unreachable, Garbled, Throttled):
                pass
            except Rejected as error:
                if error.is_about_the_request:
                    raise
        await self._dispatcher.accept(writes)
        return None

    async def _would_overtake(self, writes: Sequence[Write]) -> bool:
        """True when these must wait behind others.

        Those of another process are known a little late. Additions and events may overtake them, as their sum
        is the same; a value that is set may not, and asks the outbox itself.
        """
        if any(
            isinstance(each, UsageReport) and each.update_behavior is UpdateBehavior.SET for each in writes
        ):
            return await self._dispatcher.has_waiting()
        return self._dispatcher.is_known_to_wait

    def _basis_of(self, reports: Sequence[UsageReport]) -> _Basis:
        """When each meter was last moved by the cloud."""
        return {(each.key, each.feature_id): self._moved_at(each) for each in reports}

    def _moved_at(self, report: UsageReport) -> int | None:
        cached = self._store.get(report.key)
        held = None if cached is None else cached.entity.features.get(report.feature_id)
        return held.usage.updated_at_ms if isinstance(held, MeteredEntitlement) else None

    async def _promise(self, report: UsageReport, basis: _Basis) -> UsageReceipt:
        """What is known of a report that is kept; its meter moves at once, so that limits go on binding.

        The estimate stays in this process: in Redis it would look like the cloud's own. A meter that the
        cloud has moved since may hold this report already: another process delivers without waiting for us.
        """
        cached = self._store.get(report.key)
        is_overtaken = self._moved_at(report) != basis[report.key, report.feature_id]
        now_ms = self._clock.now_ms()
        update = None if cached is None or is_overtaken else estimated(cached.entity, report, now_ms=now_ms)
        if update is not None:
            await self._store.apply_usage(report.key, update, only_here=True, origin=Origin.REPORT)
        return UsageReceipt(
            measurement_id=report.idempotency_key, key=report.key, feature_id=report.feature_id
        )
