"""A restart during an outage forgets nothing that was known before."""

from pathlib import Path

from emulator.server import Emulator
from tests.cloud_states import boolean_state, metered_state
from tests.harness import check, client_of, is_granted, running_sidecar, usage_of


async def test_a_restart_in_an_outage_answers_what_was_known(emulator: Emulator, tmp_path: Path) -> None:
    """Also what the second process was not asked for, after one more restart."""
    emulator.state.put("a", boolean_state(), push=False)
    emulator.state.put("m", metered_state(usage=7.5), push=False)
    variables = {"SIDECAR_SNAPSHOT_FILE": str(tmp_path / "snapshot")}
    async with running_sidecar(emulator, tmp_path, **variables) as first, client_of(first) as client:
        assert await is_granted(client, "a")
        assert await usage_of(client, "m") == 7.5
        assert await first.stop() == 0

    await emulator.stop_listening()
    async with running_sidecar(emulator, tmp_path, **variables) as second, client_of(second) as client:
        assert await usage_of(client, "m") == 7.5
        assert (await check(client, "b")).is_fallback
        assert (await second.parts())["snapshot"]["entities"] == 2
        assert await second.stop() == 0

    async with running_sidecar(emulator, tmp_path, **variables) as third, client_of(third) as client:
        assert await is_granted(client, "a")
    await emulator.resume_listening()


async def test_the_cloud_is_asked_first(emulator: Emulator, tmp_path: Path) -> None:
    """A snapshot is older than anything that anybody answers."""
    emulator.state.put("a", boolean_state(), push=False)
    variables = {"SIDECAR_SNAPSHOT_FILE": str(tmp_path / "snapshot")}
    async with running_sidecar(emulator, tmp_path, **variables) as first, client_of(first) as client:
        assert await is_granted(client, "a")
        assert await first.stop() == 0
    emulator.state.put("a", boolean_state(granted=False), push=False)

    async with running_sidecar(emulator, tmp_path, **variables) as second, client_of(second) as client:
        assert not await is_granted(client, "a")
