"""Ports as scripted classes, for what real parts cannot show: exact times, exact failures."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.errors import UpstreamError
from entitlements.domain.ports import Source
from entitlements.domain.usage import UsageEvent, UsageReceipt, UsageReport


@dataclass
class FakeClock:
    """A clock that only moves when it is told to."""

    wall_ms: int = 1_750_000_000_000
    seconds: float = 1_000.0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return self.seconds

    def both(self) -> tuple[float, int]:
        return self.seconds, self.wall_ms

    def advance(self, seconds: float) -> None:
        self.wall_ms += round(seconds * 1000)
        self.seconds += seconds


@dataclass
class ScriptedSource:
    """An EntitySource that answers what it is told to, and notes what it was asked."""

    answer: Entity | UpstreamError
    source: Source = Source.EDGE
    asked: list[EntityKey] = field(default_factory=list)
    budgets: list[float] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """Set it to let the answers out; None lets them out at once."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def fetch(self, key: EntityKey, *, budget_seconds: float) -> Entity:
        self.asked.append(key)
        self.budgets.append(budget_seconds)
        self.reached.set()
        answer = self.answer
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(answer, UpstreamError):
            raise answer
        return answer


@dataclass
class ScriptedSink:
    """A ReportSink that answers the receipts it is told to, or fails."""

    receipts: Sequence[UsageReceipt] = ()
    failure: UpstreamError | None = None
    reports: list[UsageReport] = field(default_factory=list)
    batches: list[Sequence[UsageEvent]] = field(default_factory=list)

    async def report_usage(self, report: UsageReport, *, budget_seconds: float) -> UsageReceipt:
        return (await self.report_usage_bulk([report], budget_seconds=budget_seconds))[0]

    async def report_usage_bulk(
        self, reports: Sequence[UsageReport], *, budget_seconds: float
    ) -> Sequence[UsageReceipt]:
        assert budget_seconds > 0
        self.reports.extend(reports)
        if self.failure is not None:
            raise self.failure
        return self.receipts

    async def report_events(self, events: Sequence[UsageEvent], *, budget_seconds: float) -> None:
        assert budget_seconds > 0
        self.batches.append(events)
        if self.failure is not None:
            raise self.failure
