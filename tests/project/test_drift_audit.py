"""A running sidecar audits what the live feed brought it, and finds the one change that was never sent."""

import asyncio
from pathlib import Path

from emulator.server import Emulator
from tests.cloud_states import boolean_state, metered_state
from tests.harness import check, client_of, is_granted, running_sidecar

RIGHT, DIFFERED = (f'sidecar_audits_total{{outcome="{each}"}}' for each in ("right", "differed"))
WAIT_SECONDS = 60.0


async def test_what_the_feed_brought_is_right_and_what_it_did_not_is_repaired(tmp_path: Path) -> None:
    """Both ways of the cloud, and the feed's, are read alike: else each audit would cry wolf."""
    async with Emulator() as emulator:
        known = [customer for customer, resource in emulator.state.scopes() if resource is None]
        async with (
            running_sidecar(emulator, tmp_path, SIDECAR_AUDITS_PER_MINUTE="600") as sidecar,
            client_of(sidecar) as client,
        ):
            await sidecar.following()
            for customer in known:
                await check(client, customer)
                emulator.state.push_state(customer)
            emulator.state.put("m", metered_state(usage=3), push=False)
            emulator.state.put("b", boolean_state(), push=False)
            await check(client, "m")
            assert await is_granted(client, "b")
            emulator.state.set_usage("m", "m", 7)
            async with asyncio.timeout(WAIT_SECONDS):
                while await sidecar.metric(RIGHT) < len(known) + 2:  # noqa: ASYNC110 - HTTP announces no events
                    await asyncio.sleep(0.05)
            found_before = await sidecar.metric(DIFFERED)

            newer = boolean_state(granted=False, updated_at="2027-01-01T00:00:00.000Z")
            emulator.state.put("b", newer, push=False)
            async with asyncio.timeout(WAIT_SECONDS):
                while await sidecar.metric(DIFFERED) == 0:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            part = (await sidecar.parts())["drift_audit"]
            is_repaired = not await is_granted(client, "b")

    assert found_before == 0
    assert is_repaired
    assert "differs" == part["problem"]
    assert {"access": 1} == part["differences"]
    assert "is repaired kinds=access: 1" in sidecar.output
