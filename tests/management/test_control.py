"""The commands' socket is its owner's alone, survives junk, and outlives no process."""

import socket
import stat
from pathlib import Path

from emulator.server import Emulator
from entitlements.control_socket import SOCKET_NAME
from tests.harness import SidecarProcess, environment_for, running_sidecar
from tests.management.command_runs import run


async def test_only_the_owner_may_ask_and_junk_harms_nothing(sidecar: SidecarProcess, tmp_path: Path) -> None:
    """The socket is private; what is no question ends its connection alone; it goes with the process."""
    path = tmp_path / SOCKET_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for junk in (b"{\n", b"[]\n", b'{"act": "format"}\n', b'{"act": "get"}\n', b"\xff\n"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(junk)
            connection.settimeout(10)
            assert connection.recv(100) == b""

    assert (await sidecar.get("/readyz")).is_success
    assert "Traceback" not in sidecar.output
    assert await sidecar.stop() == 0
    assert not path.exists()


async def test_the_socket_of_a_process_that_died_is_replaced(emulator: Emulator, tmp_path: Path) -> None:
    """After a kill the next process can be asked."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / SOCKET_NAME))
    async with running_sidecar(emulator, tmp_path):
        assert (await run(environment_for(emulator, tmp_path), "cache", "stats")).code == 0
