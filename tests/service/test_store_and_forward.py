"""A report that the cloud answers passes straight through; the rest is in test_outbox_dispatcher.py."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entitlement import MeteredEntitlement
from entitlements.domain.entity import UsageUpdate
from entitlements.domain.errors import Unreachable
from entitlements.domain.outbox import Write
from entitlements.domain.usage import UpdateBehavior
from tests.builders import a_metered_feature, a_usage, an_entity
from tests.outbox.outbox_contract import EVENT, REPORT
from tests.service.test_outbox_dispatcher import Office, office

__all__ = ["office"]


async def test_answers_of_the_cloud_pass(office: Office) -> None:
    """Nothing is kept."""
    keeping = office.keeping()
    await keeping.report_events([EVENT], budget_seconds=1)
    receipt = await keeping.report_usage(REPORT, budget_seconds=1)

    assert "m" == receipt.measurement_id
    assert [EVENT, REPORT] == office.cloud.took
    assert 0 == (await office.dispatcher.look()).waiting


@pytest.mark.parametrize(("is_overtaken", "expected"), [(False, (4, True)), (True, (4, False))])
async def test_an_estimate_does_not_count_what_was_delivered_meanwhile(
    office: Office, is_overtaken: bool, expected: tuple[float, bool]
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

    await office.keeping().report_usage(report, budget_seconds=1)

    held = office.store.get(REPORT.key)
    assert held is not None
    terms = held.entity.features[REPORT.feature_id]
    assert isinstance(terms, MeteredEntitlement)
    assert expected == (terms.usage.current, terms.usage.is_estimate)
