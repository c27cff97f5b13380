"""`record` and `replay` as an operator types them, with a sidecar that is asked meanwhile."""

import asyncio
from pathlib import Path

from emulator.server import Emulator
from tests.cloud_states import boolean_state
from tests.harness import Client, SidecarProcess, environment_for, is_granted
from tests.management.command_runs import run


async def test_what_is_asked_meanwhile_is_recorded_and_replayed(
    emulator: Emulator, sidecar: SidecarProcess, client: Client, tmp_path: Path
) -> None:
    """Then the replies are compared with what was answered at the time."""
    emulator.state.put("c", boolean_state(), push=False)
    environment = environment_for(emulator, tmp_path, LOG_LEVEL="error")
    file = str(tmp_path / "recording")

    async def ask() -> None:
        while True:
            assert await is_granted(client, "c")
            await asyncio.sleep(0.02)

    asking = asyncio.create_task(ask())
    recorded = await run(
        environment, "record", file, "--seconds", "60", "--max", "20", "--ids", "clear", "--json"
    )
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    replayed = await run(environment, "replay", file, "--with", sidecar.address, "--rate", "200")

    assert 0 == recorded.code, recorded.output
    assert 20 == recorded.as_json["recorded"], recorded.output
    assert 0 == replayed.code, replayed.output
    assert "same: 20\n" in replayed.output
    assert "fallbacks: 0\n" in replayed.output


async def test_nothing_asked_nobody_to_record_and_wrong_bounds_are_reported(
    emulator: Emulator, sidecar: SidecarProcess, tmp_path: Path
) -> None:
    environment = environment_for(emulator, tmp_path, LOG_LEVEL="error")
    file = str(tmp_path / "recording")

    quiet = await run(environment, "record", file, "--seconds", "0.2")
    wrong = [
        await run(environment, "record", file, "--seconds", "0"),
        await run(environment, "record", file, "--max", "0"),
        await run(environment, "record", "/nowhere/at/all", "--seconds", "0.2"),
    ]
    assert 1 == quiet.code
    assert "recorded: 0\n" in quiet.output
    assert [2, 2, 2] == [each.code for each in wrong]
    for each, reported in zip(
        wrong, ("--seconds must be", "--max must be", "cannot be written"), strict=True
    ):
        assert reported in each.output
        assert "Traceback" not in each.output
