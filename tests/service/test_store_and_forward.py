"""A report that the cloud answers passes straight through; the rest is in test_outbox_dispatcher.py."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entitlement import MeteredEntitlement
from entitlements.domain.entity import UsageUpdate
from entitlements.domain.errors import Unreachable
from entitlements.domain.outbox import OutboxState, Write
from entitlements.domain.usage import UpdateBehavior, UsageEvent, UsageReport
from tests.builders import a_metered_feature, a_usage, an_entity
from tests.outbox.outbox_contract import EVENT, REPORT
from tests.service.test_outbox_dispatcher import Office, office

__all__ = ["office"]


async def test_answers_of_the_cloud_pass(office: Office) -> None:
    """Nothing is kept."""
    sink = office.sink()
    await sink.report_events([EVENT], budget_seconds=1)
    receipt = await sink.report_usage(REPORT, budget_seconds=1)

    assert "m" == receipt.measurement_id
    assert [EVENT, REPORT] == office.cloud.took
    assert 0 == (await office.dispatcher.look()).waiting


@pytest.mark.parametrize("is_overtaken", [False, True])
async def test_an_estimate_does_not_count_what_was_delivered_meanwhile(
    office: Office, is_overtaken: bool
) -> None:
    """Found by the weather machine, seed 80: a meter stood one report too high, for good.

    Another process delivered the report before the one that had kept it came to estimate: the cloud's new
    word held the report already, and the estimate added it once more, under the timestamp of that word.
    """
    feature = a_metered_feature(REPORT.feature_id, usage=a_usage(3, updated_at_ms=1_000))
    arrived = CachedEntity(entity=an_entity(feature), confirmed_at=office.clock.monotonic())
    await office.store.store(REPORT.key, arrived)
    office.cloud.failure = Unreachable("api")
    report = replace(REPORT, value=1, update_behavior=UpdateBehavior.DELTA)
    keep = office.dispatcher.accept

    async def accept(writes: Sequence[Write]) -> None:
        await keep(writes)
        if is_overtaken:
            delivered = UsageUpdate(feature_id=REPORT.feature_id, current=4, updated_at_ms=2_000)
            await office.store.apply_usage(REPORT.key, delivered)

    office.dispatcher.accept = accept  # type: ignore[method-assign]

    await office.sink().report_usage(report, budget_seconds=1)

    held = office.store.get(REPORT.key)
    assert held is not None
    terms = held.entity.features[REPORT.feature_id]
    assert isinstance(terms, MeteredEntitlement)
    assert 4 == terms.usage.current
    assert terms.usage.is_estimate is not is_overtaken


@pytest.mark.parametrize(
    ("write", "looks"),
    [
        (EVENT, 0),
        (replace(REPORT, update_behavior=None), 0),
        (replace(REPORT, update_behavior=UpdateBehavior.DELTA), 0),
        (replace(REPORT, update_behavior=UpdateBehavior.SET), 1),
    ],
)
async def test_the_outbox_is_asked_only_for_what_may_overtake_nothing(
    office: Office, write: UsageEvent | UsageReport, looks: int
) -> None:
    """Each look is a query, which a report need not pay where the cloud is well and sums are the same."""
    looked = 0
    state = office.outbox.state

    async def look() -> OutboxState:
        nonlocal looked
        looked += 1
        return await state()

    office.outbox.state = look  # type: ignore[method-assign]

    await reported(office, write)

    assert looks == looked
    assert [write] == office.cloud.took


@pytest.mark.parametrize("behavior", [UpdateBehavior.DELTA, UpdateBehavior.SET])
async def test_what_comes_behind_a_write_of_this_process_waits_behind_it(
    office: Office, behavior: UpdateBehavior
) -> None:
    """At once, and though the cloud is well again."""
    first, second = (replace(REPORT, value=value, update_behavior=behavior) for value in (1, 2))
    office.cloud.failure = Unreachable("api")
    await reported(office, first)
    office.cloud.failure = None

    await reported(office, second)

    assert [] == office.cloud.took
    assert [first, second] == [entry.write for entry in await office.outbox.oldest(2)]


async def test_a_value_that_is_set_does_not_overtake_another_process_s(office: Office) -> None:
    """Which this process has not learned of."""
    first, second = (replace(REPORT, value=value, update_behavior=UpdateBehavior.SET) for value in (1, 2))
    await office.outbox.accept([first])

    await reported(office, second)

    assert [] == office.cloud.took
    assert [first, second] == [entry.write for entry in await office.outbox.oldest(2)]


async def reported(office: Office, write: UsageEvent | UsageReport) -> None:
    sink = office.sink()
    if isinstance(write, UsageEvent):
        await sink.report_events([write], budget_seconds=1)
    else:
        await sink.report_usage(write, budget_seconds=1)
