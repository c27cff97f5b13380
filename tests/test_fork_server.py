"""What is forked behaves as what has an interpreter of its own, and what could not is not forked."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.fork_server import BASE, can_fork, fork
from tests.harness import environment_for, spawned

PRINT = (
    "import os, sys; print(os.getcwd(), os.environ.get('WORD'), sorted(os.listdir('/proc/self/fd')), "
    "os.environ['SIDECAR_DATA_DIR'], sys.argv[1:3], flush=True)"
)


@pytest.mark.parametrize(
    "name", ["PYTHONPATH", "OTEL_SDK_DISABLED", "GRPC_VERBOSITY", "LANG", "TZ", "LC_ALL"]
)
def test_what_is_read_before_our_code_needs_an_interpreter(name: str) -> None:
    assert can_fork(BASE | {"GRPC_PORT": "0", "SIDECAR_WORKERS": "1"})
    assert not can_fork(BASE | {name: "another"})


async def test_two_at_a_time_see_their_own_folder_environment_and_files(tmp_path: Path) -> None:
    """The pipe of another one would hold back its end; the files that `manage.py` opens are there later."""
    printed = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        environment = environment_for(None, folder, OFFLINE="1", WORD=name)
        process = await fork(environment, ["shell", "--no-imports", "-c", PRINT], folder=folder)
        assert process.stdout is not None
        printed.append((await process.stdout.read()).decode())
        assert 0 == await process.wait()
        assert 0 == process.returncode

    assert [
        f"{tmp_path / name} {name} ['0', '1', '2', '3'] {tmp_path / name} ['shell', '--no-imports']\n"
        for name in ("a", "b")
    ] == printed


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_a_signal_ends_it_as_it_would_end_an_interpreter(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Also Ctrl-C, to which the server itself is deaf."""
    wait = "import time, sys; print('waits', flush=True); time.sleep(60)"
    environment = environment_for(None, tmp_path, OFFLINE="1")
    async with spawned(environment, "--no-imports", "-c", wait, command="shell") as process:
        await process.printed("waits")

        assert -number == await process.stop(number)
        process.process.send_signal(signal.SIGTERM)  # it has ended: nothing happens


async def test_an_exit_code_is_its_own(tmp_path: Path) -> None:
    environment = environment_for(None, tmp_path, OFFLINE="1")
    process = await fork(environment, ["shell", "--no-imports", "-c", "raise SystemExit(7)"])

    assert 7 == await asyncio.wait_for(process.wait(), 20)
    assert not os.path.exists(f"/proc/{process.pid}")  # noqa: ASYNC240
