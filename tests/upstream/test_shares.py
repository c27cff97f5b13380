"""Bulkheads: what hangs of one kind stops no other, and what waits is bounded."""

import asyncio

import pytest

from emulator.server import Emulator
from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import Busy, Unreachable, UpstreamError
from entitlements.upstream import shares
from entitlements.upstream.edge import EdgeSource
from entitlements.upstream.exchange import Exchange
from entitlements.upstream.graphql import GraphqlApi
from tests.builders import a_report
from tests.cloud_states import boolean_state
from tests.fakes import FakeClock
from tests.upstream.parts import a_share, a_transport


async def test_writes_that_hang_stop_no_read(emulator: Emulator, api: GraphqlApi, edge: EdgeSource) -> None:
    """With one pool for all, 150 of them made every miss at a healthy Edge fall back."""
    emulator.state.put("c", boolean_state())
    emulator.faults.set("graphql", "hang")
    writes = [asyncio.create_task(api.report_usage(a_report(), budget_seconds=30)) for _ in range(150)]
    await asyncio.sleep(0.1)

    assert (await edge.fetch(EntityKey("c"), budget_seconds=5)).features
    for write in writes:
        write.cancel()
    await asyncio.gather(*writes, return_exceptions=True)


async def test_who_waits_for_a_slot_gets_the_next_that_is_free() -> None:
    share, entered = a_share(at_a_time=1), asyncio.Event()

    async def wait() -> str:
        async with share.slot(within_seconds=5):
            entered.set()
            return "entered"

    async with share.slot(within_seconds=1):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        assert not entered.is_set()

    assert "entered" == await waiting


async def test_a_wait_is_bounded_and_is_not_the_clouds_failure() -> None:
    share = a_share(at_a_time=1)
    async with share.slot(within_seconds=1):
        with pytest.raises(Busy, match="too many requests of this sidecar wait") as raised:
            async with share.slot(within_seconds=0.01):
                pytest.fail("there was no slot")

    assert isinstance(raised.value, Unreachable)
    async with share.slot(within_seconds=1):
        pass


async def test_a_bounded_number_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "MAX_WAITING", 2)
    share = a_share(at_a_time=1)

    async def wait() -> None:
        async with share.slot(within_seconds=5):
            pass

    async with share.slot(within_seconds=1):
        waiting = [asyncio.create_task(wait()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await wait()
        waiting[0].cancel()
        await asyncio.sleep(0)
        waiting[0] = asyncio.create_task(wait())  # who left has made room
        await asyncio.sleep(0)

    await asyncio.gather(*waiting)


async def test_a_request_that_waited_for_most_of_its_time_is_no_failure_of_the_cloud(
    emulator: Emulator,
) -> None:
    """It was sent in the end, and there was too little time left to be answered in."""
    emulator.faults.set("edge", "hang")
    share, url = a_share(at_a_time=1), f"{emulator.edge_url}/v1/c/c/entitlements-state.json"
    async with a_transport() as http:
        exchange = Exchange(http, transport="edge", clock=FakeClock(), share=share)

        async def ask(seconds: float) -> type[UpstreamError] | None:
            try:
                await exchange.data("GET", url, timeout_seconds=seconds)
            except UpstreamError as error:
                return type(error)
            return None

        first, second = await asyncio.gather(ask(0.3), ask(0.5))

    assert first is Unreachable
    assert second is Busy
