"""One manner for all commands: colour on a terminal alone, and exit codes as docs/commands.md lists them."""

import asyncio
import os
import pty
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from emulator.server import Emulator
from tests.harness import ROOT, environment_for, running_sidecar
from tests.management.command_runs import SECONDS, run
from tests.redis_server import free_port

ESCAPE = "\x1b["
GREEN, RED = "\x1b[1;32m", "\x1b[1;31m"
MISUSED = [
    ("ask", "only-a-customer"),
    ("ask", "customer", "feature"),  # nobody listens
    ("cache", "get", "customer"),  # nobody listens
    ("doctor", "--unknown"),
    ("explain", "customer", "feature"),  # nobody listens
    ("fallbacks", "import", "missing.json"),
    ("outbox", "discard"),
    ("override", "list"),  # SIDECAR_OVERRIDES is off
    ("probe", "health"),
    ("warm", "missing.txt"),
]


async def _on_a_terminal(environment: Mapping[str, str], command: str, *arguments: str) -> tuple[int, str]:
    """Runs it as a person would, with a terminal for both outputs."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "manage.py"),
        command,
        *arguments,
        env={**environment, "TERM": "xterm-256color", "COLUMNS": "120"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    reader = asyncio.create_task(asyncio.to_thread(_read, ours))
    code = await asyncio.wait_for(process.wait(), SECONDS)
    return code, await reader


def _read(terminal: int) -> str:
    shown = b""
    with os.fdopen(terminal, "rb", buffering=0) as file:
        while True:
            try:
                part = file.read(65_536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
    return shown.decode()


@pytest.mark.parametrize(("feature", "code", "colour"), [("feature-sso", 0, GREEN), ("nothing", 1, RED)])
async def test_colour_is_for_a_terminal(tmp_path: Path, feature: str, code: int, colour: str) -> None:
    """The same words in a pipe, without any."""
    async with Emulator() as emulator, running_sidecar(emulator, tmp_path) as sidecar:
        environment = environment_for(None, tmp_path, OFFLINE="1", LOG_LEVEL="error")
        question = ("ask", "customer-demo", feature, "--address", sidecar.address)
        shown = await _on_a_terminal(environment, *question)
        piped = await run(environment, *question)

    assert code == shown[0]
    assert code == piped.code
    assert colour in shown[1]
    assert ESCAPE not in piped.output
    assert piped.output.splitlines()[0] in shown[1]


async def test_long_work_shows_its_rate_and_the_time_left(tmp_path: Path) -> None:
    """On a terminal alone; `warm` here, at ten a second."""
    file = tmp_path / "customers"
    file.write_text("".join(f"customer {number}\n" for number in range(15)))
    async with Emulator() as emulator, running_sidecar(emulator, tmp_path) as sidecar:
        environment = environment_for(None, tmp_path, OFFLINE="1", LOG_LEVEL="error")
        work = ("warm", str(file), "--address", sidecar.address, "--rate", "10")
        _, shown = await _on_a_terminal(environment, *work)
        piped = await run(environment, *work)

    assert "15/15" in shown
    assert "/s" in shown
    assert "0:00:01" in shown
    assert "15/15" not in piped.output


async def test_used_wrongly_or_nobody_to_ask_is_two(tmp_path: Path) -> None:
    """docs/commands.md; one sentence each, no traceback."""
    environment = environment_for(
        None, tmp_path, SERVER_API_KEY="made-up", GRPC_PORT=str(free_port()), LOG_LEVEL="error"
    )

    ended = await asyncio.gather(*(run(environment, *words) for words in MISUSED))

    assert [(words, 2) for words in MISUSED] == [
        (words, each.code) for words, each in zip(MISUSED, ended, strict=True)
    ]
    assert [] == [each.output for each in ended if "Traceback" in each.output or not each.output.strip()]
