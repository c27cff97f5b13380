"""A report that the cloud answers passes straight through; the rest is in test_delivering.py."""

from tests.outbox.outbox_contract import EVENT, REPORT
from tests.service.test_delivering import Office, office

__all__ = ["office"]


async def test_answers_of_the_cloud_pass(office: Office) -> None:
    """Nothing is kept."""
    keeping = office.keeping()
    await keeping.report_events([EVENT], budget_seconds=1)
    receipt = await keeping.report_usage(REPORT, budget_seconds=1)

    assert "m" == receipt.measurement_id
    assert [EVENT, REPORT] == office.cloud.took
    assert 0 == (await office.delivering.look()).waiting
