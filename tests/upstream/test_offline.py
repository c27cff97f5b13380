"""A cloud that is not there by configuration; a file may speak for it."""

import json
from pathlib import Path

import pytest

from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import Offline
from entitlements.domain.usage import UsageReceipt
from entitlements.upstream.offline import OfflineCloud
from entitlements.upstream.offline_file import OfflineFile
from tests.builders import A_KEY, a_report, an_event
from tests.cloud_states import boolean_state
from tests.fakes import FakeClock


@pytest.fixture
def cloud() -> OfflineCloud:
    return OfflineCloud(new_id=lambda: "id-1")


async def test_it_knows_nobody(cloud: OfflineCloud) -> None:
    with pytest.raises(Offline, match="runs offline"):
        await cloud.fetch(EntityKey("c"), budget_seconds=1)
    with pytest.raises(Offline):
        await cloud.check_key(budget_seconds=1)


async def test_it_takes_every_report(cloud: OfflineCloud) -> None:
    """contract/evaluation.md, section 3: a random id, and no usage."""
    receipt = UsageReceipt(measurement_id="id-1", key=A_KEY, feature_id="seats")

    assert receipt == await cloud.report_usage(a_report(), budget_seconds=1)
    assert [receipt, receipt] == await cloud.report_usage_bulk([a_report(), a_report()], budget_seconds=1)
    await cloud.report_events([an_event()], budget_seconds=1)


async def test_what_a_file_knows_is_answered(tmp_path: Path) -> None:
    """And nothing else."""
    path = tmp_path / "o.json"
    path.write_text(json.dumps({"customers": {"a": boolean_state()}}))
    cloud = OfflineCloud(new_id=lambda: "id", file=OfflineFile(path, clock=FakeClock()))

    assert "f" in (await cloud.fetch(EntityKey("a"), budget_seconds=1)).features
    with pytest.raises(Offline):
        await cloud.fetch(EntityKey("b"), budget_seconds=1)
