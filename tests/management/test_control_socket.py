"""Where commands find the sidecar that they are meant for."""

import os
import stat
from pathlib import Path

import pytest

from entitlements.control_socket import MAX_HOST_CHARACTERS, SOCKET_NAME, listening, name_of
from tests.harness import environment_for, running_sidecar
from tests.management.command_runs import run
from tests.redis_server import free_port


async def _asked(folder: Path, **variables: str) -> int:
    """The process that answers a command of this environment."""
    environment = environment_for(None, folder, OFFLINE="1", **variables)
    ran = await run(environment, "explain", "customer", "feature", "--json")
    return int(ran.as_json["process"])


async def test_two_sidecars_on_one_folder_keep_a_socket_each(tmp_path: Path) -> None:
    """The second one says so; each answers its own commands, also when the first one has ended."""
    ports = [str(free_port()) for _ in range(2)]
    async with (
        running_sidecar(None, tmp_path, OFFLINE="1", METRICS_PORT=ports[0]) as first,
        running_sidecar(None, tmp_path, OFFLINE="1", METRICS_PORT=ports[1]) as second,
    ):
        await second.printed("another sidecar uses this SIDECAR_DATA_DIR")
        answered = [await _asked(tmp_path, METRICS_PORT=port) for port in ports]
        assert [first.process.pid, second.process.pid] == answered
        assert await first.stop() == 0
        assert second.process.pid == await _asked(tmp_path, METRICS_PORT=ports[1])
        assert await second.stop() == 0
    assert [] == [name for name in os.listdir(tmp_path) if name.endswith(".sock")]
    assert "another sidecar" not in first.output


@pytest.mark.parametrize("depth", [90, 180, 900])
async def test_a_data_folder_may_lie_deep(tmp_path: Path, depth: int) -> None:
    """The path of a socket has a hundred bytes or so: commands found nobody."""
    folder = tmp_path.joinpath(*["d" * 29] * (depth // 30))
    folder.mkdir(parents=True)

    async with running_sidecar(None, folder, OFFLINE="1", METRICS_PORT=str(free_port())) as sidecar:
        answered = await _asked(folder, METRICS_PORT=str(sidecar.http_port))

    assert sidecar.process.pid == answered


def test_a_socket_that_is_bound_and_does_not_listen_yet_is_not_taken(tmp_path: Path) -> None:
    """It looked dead to whoever asked it, and was unlinked: its commands failed from then on."""
    with listening(tmp_path, "first.1") as first, listening(tmp_path, "second.2") as second:
        names = sorted(path.name for path in tmp_path.glob("*.sock"))
        assert first is not None
        assert second is not None
        assert str(tmp_path / SOCKET_NAME) == first.getsockname()

    assert ["control-second.2.sock", "control.sock"] == names


def test_one_worker_of_several_has_the_socket_and_another_after_it(tmp_path: Path) -> None:
    with listening(tmp_path, "same.1") as first:
        with listening(tmp_path, "same.1") as second:
            assert second is None
        assert first is not None
        assert 0o600 == stat.S_IMODE((tmp_path / SOCKET_NAME).stat().st_mode)

    with listening(tmp_path, "same.1") as later:
        assert later is not None


def test_the_name_of_a_machine_is_one_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "a/../b c." + "x" * 300)

    name = name_of(8080)

    assert "a____b_c_xxx" == name[:12]
    assert ".8080" == name[MAX_HOST_CHARACTERS:]
