"""`compare` as an operator types it: without a list, for whom the running sidecar holds."""

from pathlib import Path

from emulator.server import Emulator
from tests.cloud_states import boolean_state
from tests.harness import Client, SidecarProcess, environment_for, is_granted
from tests.management.command_runs import run


async def test_whom_the_running_sidecar_holds_is_compared(
    emulator: Emulator, sidecar: SidecarProcess, client: Client, tmp_path: Path
) -> None:
    """Through its socket; also by the name of an installation's program."""
    for number in range(3):
        emulator.state.put(f"c{number}", boolean_state(), push=False)
        assert await is_granted(client, f"c{number}")

    ended = await run(
        environment_for(emulator, tmp_path, LOG_LEVEL="error"),
        "compare", "--with", sidecar.address, "--address", sidecar.address,
    )  # fmt: skip

    assert 0 == ended.code, ended.output
    assert "comparing customers 3: " in ended.output
    assert "same: 3\n" in ended.output
