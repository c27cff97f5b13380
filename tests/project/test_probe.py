"""`manage.py probe`, as an image without a shell runs it."""

import io
import socket
from pathlib import Path

import pytest

from emulator.server import Emulator
from sidecar_project import probe
from tests.harness import SidecarProcess, environment_for, spawned


async def probed(emulator: Emulator, folder: Path, port: int, *words: str) -> tuple[int, str]:
    """The exit code of a probe, and what it says."""
    environment = environment_for(emulator, folder, METRICS_PORT=str(port))
    async with spawned(environment, *words, command="probe") as process:
        code = await process.process.wait()
        await process.stop()
    return code, process.output


async def test_a_running_sidecar_is_live_and_ready(
    emulator: Emulator, sidecar: SidecarProcess, tmp_path: Path
) -> None:
    """Both questions are answered with 0."""
    answers = [await probed(emulator, tmp_path, sidecar.http_port, word) for word in ("live", "ready")]

    assert [(0, "up: /livez answered 200\n"), (0, "up: /readyz answered 200\n")] == answers


async def test_nobody_there_is_not_up(emulator: Emulator, tmp_path: Path) -> None:
    """That is reported in one sentence, without a traceback."""
    with socket.socket() as nobody:  # it listens to nobody, and keeps others from the port
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        code, said = await probed(emulator, tmp_path, port, "live")

    assert 1 == code
    assert f"no sidecar answers at 127.0.0.1 port {port}\n" == said


async def test_another_status_is_not_up(emulator: Emulator, sidecar: SidecarProcess) -> None:
    """What answers something else than 200 is not up: here another path than the sidecar's."""
    environment = {
        "OFFLINE": "1",
        "METRICS_PORT": str(sidecar.http_port),
        "READY_ENDPOINT_URL": "elsewhere",
    }
    said = io.StringIO()

    code = probe.main(["ready"], environment, out=said)

    assert probe.NOT_UP == code
    assert "not up: /elsewhere answered 404\n" == said.getvalue()


@pytest.mark.parametrize("words", [[], ["well"], ["live", "ready"]])
def test_an_unknown_act_is_answered_by_what_may_be_asked(words: list[str]) -> None:
    """It is not taken for an answer."""
    said = io.StringIO()

    code = probe.main(words, {"OFFLINE": "1"}, out=said)

    assert probe.NOT_ASKED == code
    assert "usage: manage.py probe live|ready\n" == said.getvalue()


def test_an_unusable_environment_is_reported() -> None:
    """The same sentences as at a start."""
    said = io.StringIO()

    code = probe.main(["live"], {"OFFLINE": "1", "METRICS_PORT": "http"}, out=said)

    assert code == probe.NOT_ASKED
    assert said.getvalue().startswith("METRICS_PORT is 'http'; ")
