"""A cloud that is not there by configuration (contract/evaluation.md, section 3); a file may speak for it."""

from collections.abc import Callable, Sequence

from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.errors import Offline
from entitlements.domain.ports import Source
from entitlements.domain.usage import UsageEvent, UsageReceipt, UsageReport
from entitlements.upstream.offline_file import OfflineFile


class OfflineCloud:
    """An EntitySource that knows what a file knows, and a ReportSink that takes everything."""

    source = Source.OFFLINE

    def __init__(self, *, new_id: Callable[[], str], file: OfflineFile | None = None) -> None:
        self._new_id = new_id
        self._file = file

    async def fetch(self, key: EntityKey, *, budget_seconds: float) -> Entity:
        """What the file says of it; raises Offline where it says nothing."""
        entity = None if self._file is None else self._file.get(key)
        if entity is None:
            raise Offline(self.source.value)
        return entity

    async def check_key(self, *, budget_seconds: float) -> None:
        """Always raises Offline."""
        raise Offline(self.source.value)

    async def report_usage(self, report: UsageReport, *, budget_seconds: float) -> UsageReceipt:
        """A random measurement id and no usage."""
        return UsageReceipt(measurement_id=self._new_id(), key=report.key, feature_id=report.feature_id)

    async def report_usage_bulk(
        self, reports: Sequence[UsageReport], *, budget_seconds: float
    ) -> Sequence[UsageReceipt]:
        """The same for each."""
        return [await self.report_usage(report, budget_seconds=budget_seconds) for report in reports]

    async def report_events(self, events: Sequence[UsageEvent], *, budget_seconds: float) -> None:
        """Sends nothing."""
