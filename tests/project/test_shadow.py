"""Shadow mode between real sidecars, while the live feed moves what both answer."""

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import pytest

from emulator.server import Emulator
from entitlements.background import Background
from entitlements.clock import SystemClock
from entitlements.service.shadow_ledger import ShadowLedger
from grpc_service.client import SidecarClient
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.methods import Call, Reply, UnaryMethod, answered, on_loop
from grpc_service.reads import path_of
from grpc_service.shadow import Shadow
from tests.cloud_states import metered_state
from tests.eventually import eventually
from tests.harness import SidecarProcess, client_of, running_sidecar, usage_of

METHOD = "GetMeteredEntitlement"
CUSTOMERS = 50
EVENTS_PER_SECOND = 200
EVENTS = 1000
QUICK = (0.2, 0.4, 1.0)
"""Both are asked again sooner than in production, which gives a change less time to arrive."""


@pytest.mark.parametrize("engine", ["aio", "cq"])
async def test_a_sidecar_compares_what_it_answers_with_another(
    emulator: Emulator, tmp_path: Path, engine: str
) -> None:
    """Hits as well as misses; a write stays its own; without the variable there is no such part."""
    emulator.state.put("c", metered_state(), push=False)
    async with running_sidecar(emulator, tmp_path / "other") as other:
        shadow = {"SIDECAR_SHADOW_ADDRESS": other.address, "SIDECAR_SHADOW_SAMPLE": "1"}
        async with (
            running_sidecar(emulator, tmp_path / "ours", SIDECAR_GRPC_ENGINE=engine, **shadow) as sidecar,
            client_of(sidecar) as client,
        ):
            await sidecar.following()
            for _ in range(3):
                assert 0 == await usage_of(client, "c")
            await eventually(partial(_compared, sidecar, 3))
            report = pb.ReportUsageRequest(customer_id="c", feature_id="m", value=1)
            await client.ReportUsage(report, timeout=15)
            part = (await sidecar.parts())["shadow"]
            same = await sidecar.metric(f'sidecar_shadow_reads_total{{method="{METHOD}",outcome="same"}}')
            served = [
                await other.metric(f'sidecar_grpc_requests_total{{code="OK",method="{each}"}}')
                for each in (METHOD, "ReportUsage")
            ]

        assert part["problem"] is None
        assert 3 == same
        assert 0 == part["failed"]
        assert [3, 0] == served
        assert "shadow" not in await other.parts()


@dataclass(kw_only=True)
class Comparison:
    """A sidecar's answers, asked over gRPC, compared with another's by the very parts of shadow mode."""

    ours: SidecarClient
    address: str
    background: Background = field(default_factory=lambda: Background(SystemClock().monotonic))

    def __post_init__(self) -> None:
        self.ledger = ShadowLedger(address=self.address, clock=SystemClock())
        self.shadow = Shadow(
            ledger=self.ledger,
            background=self.background,
            random=Random(1),
            sample=1,
            id_key=None,
            ask_again_seconds=QUICK,
        )
        self._method = self.shadow.middleware(UnaryMethod(path=path_of(METHOD), begin=on_loop(self._answer)))

    async def _answer(self, request: bytes, _: Call) -> Reply:
        return (await self.ours.ask(METHOD, request, seconds=10)).message, ()

    async def ask(self, customer_id: str) -> None:
        request = pb.GetMeteredEntitlementRequest(customer_id=customer_id, feature_id="m")
        await answered(self._method, request.SerializeToString(), Call())


async def _compared(sidecar: SidecarProcess, count: int) -> bool:
    return bool((await sidecar.parts())["shadow"]["same"] >= count)


async def _at_rest(comparison: Comparison) -> bool:
    return not (comparison.shadow._asked_again or comparison.shadow._waiting)


async def _has_found(comparison: Comparison) -> bool:
    await comparison.ask("c1")
    return bool(comparison.ledger.lasting)


async def _move(emulator: Emulator, comparison: Comparison) -> None:
    began = time.perf_counter()
    for number in range(EVENTS):
        emulator.state.set_usage(f"c{number % CUSTOMERS}", "m", number)
        await comparison.ask(f"c{number * 7 % CUSTOMERS}")
        await asyncio.sleep(max(0.0, began + number / EVENTS_PER_SECOND - time.perf_counter()))


async def test_an_equal_one_shows_no_difference_that_lasts_while_the_feed_moves_both(
    emulator: Emulator, tmp_path: Path
) -> None:
    """200 changes a second to what is asked about; a change that only one learns of is found all the same."""
    for number in range(CUSTOMERS):
        emulator.state.put(f"c{number}", metered_state(), push=False)
    async with (
        running_sidecar(emulator, tmp_path / "other") as other,
        running_sidecar(emulator, tmp_path / "ours") as sidecar,
        SidecarClient(sidecar.address) as ours,
        client_of(other) as client,
    ):
        await other.following()
        await sidecar.following()
        comparison = Comparison(ours=ours, address=other.address)
        async with comparison.background.kept("shadow", comparison.shadow.run):
            await _move(emulator, comparison)
            await eventually(partial(_at_rest, comparison))
            moved = dict(comparison.ledger.counts)

            emulator.state.set_usage("c1", "m", 5000, push=False)
            await client.ReloadEntitlements(pb.ReloadEntitlementsRequest(customer_id="c1"), timeout=15)
            await eventually(partial(_has_found, comparison))
        await comparison.background.stop()

    assert 0 == moved["lasting"]
    assert 0 == moved["failed"]
    assert moved["same"] + moved["transient"] > CUSTOMERS
    (difference,) = comparison.ledger.lasting[0].read.differences
    assert "entitlement.current_usage" == difference.field
    assert "5000.0" == difference.theirs
