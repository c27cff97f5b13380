"""The outbox is emptied in order, and what the cloud refuses goes aside."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest

from entitlements.cache.memory import MemoryTier
from entitlements.cache.tiers import Tiers
from entitlements.domain.errors import (
    Garbled,
    KeyRefused,
    Offline,
    Overloaded,
    Rejected,
    Throttled,
    Unreachable,
    UpstreamError,
)
from entitlements.domain.outbox import Outbox, OutboxLimits, Replayed, Write
from entitlements.domain.usage import UsageEvent, UsageReceipt, UsageReport
from entitlements.outbox.local_file import LocalFileOutbox
from entitlements.service import outbox_dispatcher
from entitlements.service.delivery_pause import LONGEST_PAUSE_SECONDS
from entitlements.service.outbox_dispatcher import (
    LOOK_SECONDS,
    OutboxDispatcher,
)
from entitlements.service.store_and_forward import StoreAndForwardSink
from tests.eventually import eventually
from tests.fakes import FakeClock
from tests.outbox.outbox_contract import EVENT, REPORT, events


@dataclass
class Cloud:
    """A ReportSink that keeps what it took, refuses poison, and fails while told to."""

    failure: UpstreamError | None = None
    refusal: UpstreamError = field(
        default_factory=lambda: Rejected("api", code="CustomerNotFound", message="no such customer")
    )
    poison: frozenset[str] = frozenset()
    took: list[Write] = field(default_factory=list)
    saw: list[Write] = field(default_factory=list)

    async def report_usage(self, report: UsageReport, *, budget_seconds: float) -> UsageReceipt:
        return (await self.report_usage_bulk([report], budget_seconds=budget_seconds))[0]

    async def report_usage_bulk(
        self, reports: Sequence[UsageReport], *, budget_seconds: float
    ) -> Sequence[UsageReceipt]:
        self._take(reports)
        return [
            UsageReceipt(measurement_id="m", key=each.key, feature_id=each.feature_id) for each in reports
        ]

    async def report_events(self, events: Sequence[UsageEvent], *, budget_seconds: float) -> None:
        self._take(events)

    def _take(self, writes: Sequence[Write]) -> None:
        self.saw.extend(writes)
        if self.failure is not None:
            raise self.failure
        if any(write.idempotency_key in self.poison for write in writes):
            raise self.refusal
        self.took.extend(writes)


@dataclass
class Ours:
    """Whether this process may deliver."""

    are: bool = True

    async def __call__(self) -> bool:
        return self.are


@dataclass
class Office:
    cloud: Cloud
    clock: FakeClock
    outbox: Outbox
    dispatcher: OutboxDispatcher
    ours: Ours
    shown: list[UsageReceipt] = field(default_factory=list)
    store: Tiers = field(default_factory=lambda: Tiers(MemoryTier(max_size_bytes=10_000_000)))

    def sink(self, *, keeps_usage: bool = True) -> StoreAndForwardSink:
        return StoreAndForwardSink(
            sink=self.cloud,
            dispatcher=self.dispatcher,
            store=self.store,
            clock=self.clock,
            keeps_usage=keeps_usage,
        )


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    cloud, clock = Cloud(), FakeClock()
    outbox = LocalFileOutbox(
        tmp_path / "o", limits=OutboxLimits(max_entries=3000, max_bytes=10**8), clock=clock
    )

    ours = Ours()
    shown: list[UsageReceipt] = []

    async def show(receipt: UsageReceipt) -> None:
        shown.append(receipt)

    dispatcher = OutboxDispatcher(
        outbox=outbox, sink=cloud, clock=clock, random=Random(1), may_deliver=ours, show=show
    )
    office = Office(cloud=cloud, clock=clock, outbox=outbox, dispatcher=dispatcher, ours=ours, shown=shown)
    yield office
    await outbox.stop()


async def test_everything_is_delivered_in_order(office: Office) -> None:
    """Events and reports in calls of their own; receipts are shown."""
    writes = [*events("a", "b"), REPORT, *events("c")]
    await office.dispatcher.accept(writes)

    pauses = [await office.dispatcher.deliver_once() for _ in range(4)]

    assert [0, 0, 0, LOOK_SECONDS] == pauses
    assert writes == office.cloud.took
    assert ["m"] == [receipt.measurement_id for receipt in office.shown]
    assert {"accepted": 4, "delivered": 4, "retried": 0, "refused": 0, "lost": 0} == office.dispatcher.counts


async def test_only_poison_is_refused(office: Office) -> None:
    """A refused batch is halved until the culprit stands alone; the order of the others holds."""
    names = [str(number) for number in range(100)]
    office.cloud.poison = frozenset({"3", "57"})
    await office.dispatcher.accept(events(*names))

    assert await office.dispatcher.deliver_once() == 0

    assert events(*(name for name in names if name not in {"3", "57"})) == office.cloud.took
    letters = await office.outbox.dead_letters(10)
    assert ["3", "57"] == [letter.entry.write.idempotency_key for letter in letters]
    assert "no such customer" in letters[0].reason
    assert 2 == (await office.dispatcher.look()).dead


async def test_replayed_letter_is_delivered(office: Office) -> None:
    """Once the cloud knows the customer."""
    office.cloud.poison = frozenset({"a"})
    await office.dispatcher.accept(events("a"))
    await office.dispatcher.deliver_once()
    office.cloud.poison = frozenset()

    assert Replayed(count=1) == await office.outbox.replay()
    await office.dispatcher.deliver_once()

    assert events("a") == office.cloud.took
    assert await office.outbox.discard() == 0


@pytest.mark.parametrize(
    "failure",
    [
        Unreachable("api"),
        Garbled("api"),
        Throttled("api"),
        KeyRefused("api"),
        Offline("api"),
        Rejected("api", code="InternalServerError"),
    ],
)
async def test_entries_stay_while_the_cloud_fails(office: Office, failure: UpstreamError) -> None:
    """The pause grows within its bound, and nothing is refused for it."""
    office.cloud.failure = failure
    await office.dispatcher.accept(events("a"))

    pauses = [await office.dispatcher.deliver_once() for _ in range(12)]

    assert all(0 < pause <= LONGEST_PAUSE_SECONDS for pause in pauses)
    assert pauses[-1] > LONGEST_PAUSE_SECONDS / 3
    assert ["a"] == [entry.write.idempotency_key for entry in await office.outbox.waiting(10)]
    office.cloud.failure = None
    assert await office.dispatcher.deliver_once() == 0
    assert events("a") == office.cloud.took


async def test_clouds_own_pause_is_kept(office: Office) -> None:
    """Retry-After, within the bound."""
    await office.dispatcher.accept(events("a"))
    office.cloud.failure = Throttled("api", 7.0)
    assert await office.dispatcher.deliver_once() == 7.0
    office.cloud.failure = Throttled("api", 9999.0)
    assert await office.dispatcher.deliver_once() == LONGEST_PAUSE_SECONDS


async def test_one_process_delivers(office: Office) -> None:
    """The others leave the entries alone."""
    office.ours.are = False
    await office.dispatcher.accept(events("a"))

    assert await office.dispatcher.deliver_once() == LOOK_SECONDS
    assert not office.cloud.saw


async def test_running_delivers_what_arrives(office: Office) -> None:
    """Without being asked."""
    task = asyncio.create_task(office.dispatcher.run())
    await office.dispatcher.accept(events("a"))
    await eventually(lambda: office.cloud.took)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_drain_delivers_the_rest_and_gives_up_on_failure(office: Office) -> None:
    """Before the process ends."""
    await office.dispatcher.accept(events(*(str(number) for number in range(2500))))
    await office.dispatcher.drain(grace_seconds=10)
    assert 2500 == len(office.cloud.took)

    office.cloud.failure = Unreachable("api")
    await office.dispatcher.accept(events("later"))
    await office.dispatcher.drain(grace_seconds=10)
    assert 1 == (await office.dispatcher.look()).waiting


@pytest.mark.parametrize("failure", [Unreachable("api"), Garbled("api"), Throttled("api")])
async def test_kept_event_is_delivered_exactly_as_it_was_tried(
    office: Office, failure: UpstreamError
) -> None:
    """The cloud knows it again by timestamp and idempotency key: the first attempt may have arrived."""
    office.cloud.failure = failure
    await office.sink().report_events([EVENT], budget_seconds=1)
    tried = list(office.cloud.saw)
    office.clock.advance(3600)
    office.cloud.failure = None
    await office.dispatcher.deliver_once()
    assert tried == office.cloud.took


async def test_what_waits_is_not_overtaken(office: Office) -> None:
    """The order per customer holds also when the cloud is back before the outbox is empty."""
    office.cloud.failure = Unreachable("api")
    await office.sink().report_events([EVENT], budget_seconds=1)
    office.cloud.failure = None

    await office.sink().report_events([replace(EVENT, idempotency_key="second")], budget_seconds=1)
    assert not office.cloud.took
    await office.dispatcher.deliver_once()

    assert ["k", "second"] == [write.idempotency_key for write in office.cloud.took]


@pytest.mark.parametrize("failure", [KeyRefused("api"), Rejected("api", code="CustomerNotFound")])
async def test_refusal_is_reported_and_not_kept(office: Office, failure: UpstreamError) -> None:
    """The caller can do something about it."""
    office.cloud.failure = failure

    with pytest.raises(type(failure)):
        await office.sink().report_events([EVENT], budget_seconds=1)

    assert 0 == (await office.dispatcher.look()).waiting


async def test_usage_is_kept_in_mode_all(office: Office) -> None:
    """The answer says nothing of the usage; the key is the one that was tried."""
    office.cloud.failure = Unreachable("api")

    receipt = await office.sink().report_usage(REPORT, budget_seconds=1)
    receipts = await office.sink().report_usage_bulk([REPORT], budget_seconds=1)

    assert UsageReceipt(measurement_id="r", key=REPORT.key, feature_id="f") == receipt
    assert [receipt] == receipts
    office.cloud.failure = None
    await office.dispatcher.deliver_once()
    assert [REPORT, REPORT] == office.cloud.took


async def test_usage_is_not_kept_in_mode_events(office: Office) -> None:
    """The caller gets the error."""
    office.cloud.failure = Unreachable("api")
    sink = office.sink(keeps_usage=False)

    with pytest.raises(Unreachable):
        await sink.report_usage(REPORT, budget_seconds=1)
    with pytest.raises(Unreachable):
        await sink.report_usage_bulk([REPORT], budget_seconds=1)


async def test_full_outbox_is_reported(office: Office) -> None:
    """Nothing is dropped in silence."""
    office.cloud.failure = Unreachable("api")
    many = [replace(EVENT, idempotency_key=str(number)) for number in range(3001)]

    with pytest.raises(Overloaded):
        await office.sink().report_events(many, budget_seconds=1)


async def test_arrivals_do_not_shorten_the_clouds_pause(office: Office) -> None:
    """Retry-After holds for all that waits."""
    office.cloud.failure = Throttled("api", 30.0)
    await office.dispatcher.accept(events("a"))
    task = asyncio.create_task(office.dispatcher.run())
    await eventually(lambda: office.cloud.saw)
    await office.dispatcher.accept(events("b"))

    await asyncio.wait([task], timeout=0.3)

    assert events("a") == office.cloud.saw
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_people_remove_shows_while_the_cloud_s_pause_lasts(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a quarter of a minute health would report writes that are gone."""
    monkeypatch.setattr(outbox_dispatcher, "LOOK_SECONDS", 0.01)
    office.cloud.failure = Throttled("api", 10.0)
    await office.dispatcher.accept(events("a", "b"))
    task = asyncio.create_task(office.dispatcher.run())
    await eventually(lambda: bool(office.cloud.saw))

    await office.outbox.discard(waiting=True)
    await eventually(lambda: office.dispatcher.state.waiting == 0)

    assert events("a", "b") == office.cloud.saw
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
