"""The API over real HTTP, checked against a schema."""

import asyncio
from typing import Any

import pytest

from emulator.server import Emulator
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.errors import Garbled, KeyRefused, Rejected, Throttled, Unreachable
from entitlements.domain.reason import AccessDeniedReason
from entitlements.upstream.graphql import GraphqlApi
from tests.builders import a_report, an_event
from tests.cloud_states import boolean_state, metered_state

REPORT = a_report("m", value=3)


@pytest.fixture(autouse=True)
def _customer(emulator: Emulator) -> None:
    emulator.state.put("customer-1", metered_state(), push=False)


async def test_it_answers_an_entity(emulator: Emulator, api: GraphqlApi) -> None:
    emulator.state.put("c", boolean_state(), resource_id="r&x=1", push=False)

    entity = await api.fetch(EntityKey("c", "r&x=1"), budget_seconds=5)

    assert ["f"] == list(entity.features)


async def test_an_unknown_customer_is_an_empty_entity(api: GraphqlApi) -> None:
    assert Entity(denied_reason=AccessDeniedReason.CUSTOMER_NOT_FOUND) == await api.fetch(
        EntityKey("nobody"), budget_seconds=5
    )


async def test_a_report_is_counted_and_receipted(emulator: Emulator, api: GraphqlApi) -> None:
    receipt = await api.report_usage(REPORT, budget_seconds=5)

    assert 3 == receipt.current_usage
    assert bool(receipt.measurement_id)
    assert 1 == emulator.counters.total("graphql:ReportUsage")


@pytest.mark.parametrize("kind", ["lost_answer", "truncated"])
async def test_report_usage_keeps_one_idempotency_key_over_retries(
    emulator: Emulator, api: GraphqlApi, kind: str
) -> None:
    """contract/better.md: one lost answer must not make two of one."""
    emulator.faults.set("graphql", kind, times=2)

    receipt = await api.report_usage(REPORT, budget_seconds=10)

    assert receipt.current_usage == 3
    assert 3 == emulator.counters.total("graphql:ReportUsage")
    assert {"report-1"} == {report.report.idempotency_key for report in emulator.state.ledger.reports}


async def test_several_reports_in_one_call(emulator: Emulator, api: GraphqlApi) -> None:
    other = a_report("m", value=4)

    receipts = await api.report_usage_bulk(
        [REPORT, type(other)(key=other.key, feature_id="m", value=4, idempotency_key="report-2")],
        budget_seconds=5,
    )

    assert [3, 7] == [receipt.current_usage for receipt in receipts]
    assert 1 == emulator.counters.total("graphql:ReportUsageBulk")


async def test_events(emulator: Emulator, api: GraphqlApi) -> None:
    await api.report_events([an_event(), an_event(idempotency_key="event-2")], budget_seconds=5)

    assert 1 == emulator.counters.total("graphql:ReportEvent")
    assert 2 == len(emulator.state.ledger.events)


async def test_a_rejected_report_is_not_tried_again(emulator: Emulator, api: GraphqlApi) -> None:
    with pytest.raises(Rejected) as caught:
        await api.report_usage(a_report("no-such-feature"), budget_seconds=5)

    assert "FeatureNotFound" == caught.value.code
    assert 1 == emulator.counters.total("graphql:ReportUsage")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "bad_key"}, KeyRefused),
        ({"kind": "throttled"}, Throttled),
        ({"kind": "garbage"}, Garbled),
        ({"kind": "down"}, Unreachable),
        ({"kind": "status", "status": 503}, Garbled),
        ({"kind": "status", "status": 404}, Rejected),
        ({"kind": "errors_200", "code": "IdentityForbidden"}, KeyRefused),
        ({"kind": "hang"}, Unreachable),
    ],
)
async def test_each_fault_is_distinguished(
    emulator: Emulator, api: GraphqlApi, fault: dict[str, Any], error: type[Exception]
) -> None:
    emulator.faults.set("graphql", **fault)

    with pytest.raises(error):
        await api.fetch(EntityKey("customer-1"), budget_seconds=0.8)


async def test_throttling_is_waited_for_when_the_budget_allows(emulator: Emulator, api: GraphqlApi) -> None:
    """Retry-After is respected: not sooner, and not at all when there is no time left."""
    emulator.faults.set("graphql", "throttled", retry_after_seconds=1, times=1)
    started = asyncio.get_running_loop().time()

    await api.fetch(EntityKey("customer-1"), budget_seconds=5)

    assert asyncio.get_running_loop().time() - started >= 1
    emulator.faults.set("graphql", "throttled", retry_after_seconds=60)
    with pytest.raises(Throttled, match="retry after 60 s"):
        await api.fetch(EntityKey("customer-1"), budget_seconds=2)


async def test_the_budget_bounds_everything(emulator: Emulator, api: GraphqlApi) -> None:
    emulator.faults.set("graphql", "hang")
    started = asyncio.get_running_loop().time()

    with pytest.raises(Unreachable, match="did not answer in time"):
        await api.report_usage(REPORT, budget_seconds=0.5)

    assert asyncio.get_running_loop().time() - started < 5  # a busy machine's


@pytest.mark.parametrize("budget_seconds", [0.0, -1.0])
async def test_without_time_nothing_is_asked(
    emulator: Emulator, api: GraphqlApi, budget_seconds: float
) -> None:
    with pytest.raises(Unreachable):
        await api.fetch(EntityKey("customer-1"), budget_seconds=budget_seconds)

    assert emulator.counters.fetches() == 0


async def test_a_key_is_checked(emulator: Emulator, api: GraphqlApi) -> None:
    await api.check_key(budget_seconds=5)
    emulator.faults.set("graphql", "bad_key")

    with pytest.raises(KeyRefused):
        await api.check_key(budget_seconds=5)


async def test_the_operation_is_named_in_a_header(emulator: Emulator, api: GraphqlApi) -> None:
    await api.fetch(EntityKey("customer-1"), budget_seconds=5)

    headers = emulator.counters.requests[-1].headers
    assert "GetEntitlementsState" == headers["x-graphql-operation-name"]
