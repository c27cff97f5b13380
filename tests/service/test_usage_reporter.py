"""Usage and events towards the cloud."""

import uuid
from dataclasses import replace

import pytest

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.decision import Query
from entitlements.domain.entity import EntityKey, UsageUpdate
from entitlements.domain.errors import InvalidRequest, Throttled, Unreachable
from entitlements.domain.usage import MAX_EVENTS_PER_CALL, UsageEvent, UsageReceipt, UsageReport
from entitlements.service import usage_reporter
from tests.builders import a_metered_feature, a_usage, an_entity
from tests.service.conftest import House

KEY = EntityKey("customer-1")


def _report(**changes: object) -> UsageReport:
    return UsageReport(**{"key": KEY, "feature_id": "f", "value": 1.0, "idempotency_key": "i", **changes})  # type: ignore[arg-type]


def _receipt(current: float, *, updated_at_ms: int) -> UsageReceipt:
    return UsageReceipt(
        measurement_id="m",
        key=KEY,
        feature_id="f",
        current_usage=current,
        updates=(UsageUpdate(feature_id="f", current=current, updated_at_ms=updated_at_ms),),
    )


async def _usage(house: House) -> float:
    answer = await house.reader.check(Query(key=KEY, feature_id="f"))
    return answer.decision.basis.usage.current  # type: ignore[union-attr]


async def test_report_moves_the_cached_meter_at_once(house: House) -> None:
    """Usage reported is visible in the next read."""
    await house.store.store(
        KEY,
        CachedEntity(
            entity=an_entity(a_metered_feature("f", usage=a_usage(1, updated_at_ms=1))), confirmed_at=0
        ),
    )
    house.sink.receipts = [_receipt(2, updated_at_ms=2)]

    receipt = await house.usage_reporter.report_usage(_report(), budget_seconds=1)

    assert receipt == _receipt(2, updated_at_ms=2)
    assert await _usage(house) == 2


async def test_report_shows_although_the_edge_lags_behind(house: House) -> None:
    """better.md: a caller that reported reads its own write, also when the entity was not cached."""
    house.edge.answer = an_entity(a_metered_feature("f", usage=a_usage(1, updated_at_ms=1)))
    house.sink.receipts = [_receipt(2, updated_at_ms=2)]
    await house.usage_reporter.report_usage(_report(), budget_seconds=1)

    assert await _usage(house) == 2


async def test_bulk_moves_every_meter(house: House) -> None:
    """Each receipt is shown."""
    house.sink.receipts = [_receipt(2, updated_at_ms=2), _receipt(3, updated_at_ms=3)]
    house.edge.answer = an_entity(a_metered_feature("f", usage=a_usage(1, updated_at_ms=1)))

    receipts = await house.usage_reporter.report_usage_bulk([_report(), _report()], budget_seconds=1)

    assert receipts == house.sink.receipts
    assert await _usage(house) == 3


async def test_empty_bulk_asks_nobody(house: House) -> None:
    """Nothing to report is reported at once."""
    house.sink.failure = Unreachable("api")

    assert [] == await house.usage_reporter.report_usage_bulk([], budget_seconds=1)


async def test_failed_report_fails_loudly(house: House) -> None:
    """The caller gets the error, and no meter moves."""
    house.sink.failure = Throttled("api")

    with pytest.raises(Throttled):
        await house.usage_reporter.report_usage(_report(), budget_seconds=1)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"key": EntityKey("")}, "customer_id"),
        ({"feature_id": ""}, "feature_id"),
        ({"value": float("nan")}, "value"),
    ],
)
async def test_unusable_report_is_not_sent(house: House, changes: dict[str, object], field: str) -> None:
    """The sentence names the field."""
    with pytest.raises(InvalidRequest, match=field):
        await house.usage_reporter.report_usage(_report(**changes), budget_seconds=1)

    assert not house.sink.reports


async def test_events_are_sent_in_order_within_the_clouds_bound(house: House) -> None:
    """1,000 events a call (contract/upstream.md)."""
    events = [
        UsageEvent(event_name="e", key=KEY, idempotency_key=str(number), timestamp_ms=1)
        for number in range(MAX_EVENTS_PER_CALL + 1)
    ]

    await house.usage_reporter.report_events(events, budget_seconds=1)

    assert [events[:MAX_EVENTS_PER_CALL], events[MAX_EVENTS_PER_CALL:]] == house.sink.batches


async def test_a_bare_event_is_stamped_and_named_before_the_first_attempt(house: House) -> None:
    """By both the cloud knows a repetition: what is tried, retried and kept is one and the same event."""
    named = UsageEvent(event_name="e", key=KEY, idempotency_key="mine", timestamp_ms=7)
    bare = UsageEvent(event_name="e", key=KEY, idempotency_key=" ")

    await house.usage_reporter.report_events([named, bare, bare], budget_seconds=1)

    [sent] = house.sink.batches
    assert named == sent[0]
    assert [house.clock.now_ms()] * 2 == [event.timestamp_ms for event in sent[1:]]
    assert 2 == len({uuid.UUID(event.idempotency_key) for event in sent[1:]})


async def test_an_event_that_its_caller_sends_again_keeps_its_first_time(
    house: House,
) -> None:
    """It had arrived, and only its answer was lost: with another time the cloud would count it twice."""
    mine = UsageEvent(event_name="e", key=KEY, idempotency_key="mine")
    dated = UsageEvent(event_name="e", key=KEY, idempotency_key="dated", timestamp_ms=7)
    bare = UsageEvent(event_name="e", key=KEY, idempotency_key=" ")
    house.sink.failure = Unreachable("api", "lost")
    first_ms = house.clock.now_ms()
    for _ in range(2):
        with pytest.raises(Unreachable):
            await house.usage_reporter.report_events([mine, dated, bare], budget_seconds=1)
        house.clock.advance(1)
    house.sink.failure = None

    await house.usage_reporter.report_events(
        [mine, dated, bare, replace(mine, event_name="f")], budget_seconds=1
    )

    now_ms = house.clock.now_ms()
    assert [first_ms, 7, now_ms, now_ms] == [event.timestamp_ms for event in house.sink.batches[-1]]


async def test_of_events_that_failed_the_newest_are_known_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the cloud is away, and however many are reported meanwhile."""
    monkeypatch.setattr(usage_reporter, "MAX_FIRST_TRIES", 2)
    events = [UsageEvent(event_name="e", key=KEY, idempotency_key=str(number)) for number in range(3)]
    house.sink.failure = Unreachable("api", "lost")
    first_ms = house.clock.now_ms()
    with pytest.raises(Unreachable):
        await house.usage_reporter.report_events(events, budget_seconds=1)
    house.clock.advance(1)
    house.sink.failure = None

    await house.usage_reporter.report_events(events, budget_seconds=1)

    now_ms = house.clock.now_ms()
    assert [now_ms, first_ms, first_ms] == [event.timestamp_ms for event in house.sink.batches[-1]]


async def test_unusable_event_is_not_sent(house: House) -> None:
    """All or nothing: the sentence names the event and its field."""
    events = [UsageEvent(event_name="", key=KEY, idempotency_key="i")]

    with pytest.raises(InvalidRequest, match=r"events\[0\]\.event_name"):
        await house.usage_reporter.report_events(events, budget_seconds=1)
