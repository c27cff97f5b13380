"""What was reported to the cloud: usage reports and events as received, each counted once."""

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from typing import Any

from emulator.signals import Changed
from emulator.usage import Json, UsageReport

MAX_KEPT_REPORTS = 100_000
MAX_KEPT_EVENTS = 100_000
MAX_REMEMBERED_KEYS = 200_000
WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedReport:
    """A usage report that arrived, and whether it changed anything."""

    report: UsageReport
    """The report itself."""
    counted: bool
    """False when its idempotency key had been seen before."""
    answer: Json
    """What was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent:
    """An event that arrived, and whether it was the first of its kind."""

    event: Json
    """The event itself, as sent."""
    counted: bool
    """False when an equal one had arrived before."""


class Ledger:
    """Remembers reports and events, newest last, and recognises repetitions."""

    def __init__(self) -> None:
        self._changed = Changed()
        self._answers: OrderedDict[tuple[str, str], Json] = OrderedDict()
        self._events_seen: OrderedDict[tuple[Any, ...], None] = OrderedDict()
        self._times_sent: Counter[str] = Counter()
        self.reports: deque[ReceivedReport] = deque(maxlen=MAX_KEPT_REPORTS)
        self.events: deque[ReceivedEvent] = deque(maxlen=MAX_KEPT_EVENTS)

    def first_answer(self, report: UsageReport) -> Json | None:
        """Find what was answered when this report's idempotency key came first; None for a new one."""
        if report.idempotency_key is None:
            return None
        return self._answers.get((report.customer_id, report.idempotency_key))

    def note_report(self, received: ReceivedReport) -> None:
        """Remember a report that was answered."""
        report = received.report
        if report.idempotency_key is not None:
            self._note_key(report.idempotency_key)
            self._answers.setdefault((report.customer_id, report.idempotency_key), received.answer)
            if len(self._answers) > MAX_REMEMBERED_KEYS:
                self._answers.popitem(last=False)
        self.reports.append(received)
        self._changed.notify()

    def note_event(self, event: Json) -> bool:
        """Remember an event; true when no equal one came before (contract/upstream.md)."""
        fields = ("timestamp", "customerId", "resourceId", "eventName", "idempotencyKey")
        identity = tuple(event.get(name) for name in fields)
        counted = identity not in self._events_seen
        self._events_seen[identity] = None
        if len(self._events_seen) > MAX_REMEMBERED_KEYS:
            self._events_seen.popitem(last=False)
        self._note_key(event["idempotencyKey"])
        self.events.append(ReceivedEvent(event=event, counted=counted))
        self._changed.notify()
        return counted

    def keys(self) -> dict[str, int]:
        """Give every key with the number of times it arrived."""
        return dict(self._times_sent)

    def counted_events(self) -> list[Json]:
        """List the events without repetitions, in the order of arrival."""
        return [received.event for received in self.events if received.counted]

    async def events_reached(self, count: int, *, timeout_seconds: float = WAIT_SECONDS) -> None:
        """Return once so many events have arrived, repetitions included."""
        await self._changed.until(lambda: len(self.events) >= count, timeout_seconds=timeout_seconds)

    def reset(self) -> None:
        """Forget everything."""
        self._answers.clear()
        self._events_seen.clear()
        self._times_sent.clear()
        self.reports.clear()
        self.events.clear()

    def _note_key(self, key: str) -> None:
        if key in self._times_sent or len(self._times_sent) < MAX_REMEMBERED_KEYS:
            self._times_sent[key] += 1
