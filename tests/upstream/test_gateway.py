"""Writes behind a gateway that bounds the size of a request: they arrive in smaller ones."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from entitlements.domain.errors import Garbled, Rejected, RequestTooLarge
from entitlements.upstream.graphql import GraphqlApi
from tests.builders import a_report, an_event
from tests.fakes import FakeClock
from tests.upstream.parts import a_transport

BOUND = 1_000_000


@dataclass
class Gateway:
    """Refuses what is too large as nginx does, with a page; behind it is a cloud that takes all."""

    url: str = ""
    took: list[Any] = field(default_factory=list)
    requests: int = 0
    status: int | None = None
    left_out: int = 0
    """Of a bulk so many measurements are missing in the answer."""

    async def answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self.status is not None:
            return web.Response(status=self.status, text="<html>no</html>", content_type="text/html")
        body = await request.json()
        if body["operationName"] == "ReportEvent":
            self.took += body["variables"]["events"]["usageEvents"]
            return web.json_response({"data": {"reportEvent": None}})
        usages = body["variables"]["input"]["usages"]
        self.took += usages
        measured = [{"id": "m"} for _ in usages[self.left_out :]]
        return web.json_response({"data": {"reportUsageBulk": measured}})


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    app = web.Application(client_max_size=BOUND)
    app.router.add_post("/graphql", gateway.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield gateway
    await runner.cleanup()


@pytest.fixture
async def bounded(gateway: Gateway) -> AsyncIterator[GraphqlApi]:
    async with a_transport() as transport:
        yield GraphqlApi(transport, base_url=gateway.url, clock=FakeClock(), write_attempts=1)


@pytest.mark.parametrize(("count", "size"), [(1000, 1100), (1000, 1400), (10, 400_000)])
async def test_events_too_large_for_one_request_arrive_in_several(
    gateway: Gateway, bounded: GraphqlApi, count: int, size: int
) -> None:
    """All, in order, each once."""
    events = [an_event(idempotency_key=str(n), dimensions={"text": "x" * size}) for n in range(count)]

    await bounded.report_events(events, budget_seconds=60)

    assert [str(number) for number in range(count)] == [each["idempotencyKey"] for each in gateway.took]


async def test_reports_too_large_for_one_request_arrive_in_several(
    gateway: Gateway, bounded: GraphqlApi
) -> None:
    reports = [replace(a_report("m"), dimensions={"text": "x" * 30_000}) for _ in range(100)]

    receipts = await bounded.report_usage_bulk(reports, budget_seconds=60)

    assert 100 == len(receipts)
    assert 100 == len(gateway.took)


@pytest.mark.parametrize("left_out", [1, 3, 4])
async def test_a_bulk_that_is_answered_short_is_not_taken_for_delivered(
    gateway: Gateway, bounded: GraphqlApi, left_out: int
) -> None:
    """Nobody knows whose measurements are missing: all are sent again, by their keys."""
    gateway.left_out = left_out

    with pytest.raises(Garbled, match="another number of measurements"):
        await bounded.report_usage_bulk([a_report("m")] * 4, budget_seconds=60)


async def test_an_event_too_large_alone_is_refused_by_its_size(bounded: GraphqlApi) -> None:
    with pytest.raises(RequestTooLarge, match="413"):
        await bounded.report_events([an_event(dimensions={"text": "x" * BOUND})], budget_seconds=60)


@pytest.mark.parametrize(
    ("status", "error", "is_about_the_request"),
    [(400, Rejected, True), (422, Rejected, True), (404, Garbled, None), (408, Garbled, None)],
)
async def test_a_page_of_a_gateway_is_what_its_status_says(
    gateway: Gateway,
    bounded: GraphqlApi,
    status: int,
    error: type[Exception],
    is_about_the_request: bool | None,
) -> None:
    """Refused is what was sent, or it says nothing of it."""
    gateway.status = status

    with pytest.raises(error) as caught:
        await bounded.report_events([an_event()], budget_seconds=1)

    assert is_about_the_request == getattr(caught.value, "is_about_the_request", None)
