"""Fallback rules of the database: in force in a running sidecar, carried in and out by the command."""

import asyncio
import json
import sqlite3
import sys
from pathlib import Path

from emulator.server import Emulator
from tests.eventually import eventually
from tests.harness import ROOT, Client, check, client_of, environment_for, running_sidecar
from tests.management.command_runs import run

RULES = {"f": {"hasAccess": True, "enumValues": ["a"]}}


async def _imported(folder: Path, text: str) -> tuple[int, str, str]:
    """By a pipe, as from another program: with the exit code what it printed, and its complaints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "manage.py"),
        "fallbacks",
        "import",
        "-",
        env=environment_for(None, folder, OFFLINE="1"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(text.encode())
    return process.returncode or 0, out.decode(), err.decode()


async def _has_access(client: Client) -> bool:
    return (await check(client, "c")).has_access


async def _is_denied(client: Client) -> bool:
    return not await _has_access(client)


async def test_a_rule_of_the_database_goes_before_the_environment_s(tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.json"
    nonsense.write_text('{"h": {"hasAccess": 1}}')
    offline = environment_for(None, tmp_path, OFFLINE="1", LOG_LEVEL="error")
    environment = json.dumps({"f": {"hasAccess": False}, "g": {"hasAccess": True}})
    async with (
        running_sidecar(None, tmp_path, OFFLINE="1", ENTITLEMENTS_FALLBACK=environment) as sidecar,
        client_of(sidecar) as client,
    ):
        before = (await check(client, "c")).has_access
        taken = await _imported(tmp_path, json.dumps(RULES))
        await eventually(lambda: _has_access(client))
        other = (await check(client, "c", "g")).has_access
        exported = await run(offline, "fallbacks", "export")
        wrong = await run(offline, "fallbacks", "import", str(nonsense))
        with sqlite3.connect(tmp_path / "sidecar.sqlite3") as database:
            database.execute("UPDATE entitlements_fallbackrule SET is_active = 0")
        database.close()
        await eventually(lambda: _is_denied(client))

    assert not before
    assert (0, "taken_over: 1\n") == taken[:2]
    assert other
    assert RULES == exported.as_json
    assert 2 == wrong.code
    assert "h.hasAccess" in wrong.output


async def test_checks_are_answered_without_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/missing/db.sqlite3"
    environment = json.dumps({"f": {"hasAccess": True}})
    async with (
        running_sidecar(
            None, tmp_path, OFFLINE="1", ENTITLEMENTS_FALLBACK=environment, DATABASE_URL=url
        ) as sidecar,
        client_of(sidecar) as client,
    ):
        granted = (await check(client, "c")).has_access

        assert granted
        assert "the database cannot be used" in sidecar.output


async def test_following_the_table_ends_with_the_process(emulator: Emulator, tmp_path: Path) -> None:
    """The thread that reads the table closes its own connection; the exit stays a clean one."""
    async with running_sidecar(emulator, tmp_path) as sidecar:
        code = await sidecar.stop()

    assert code == 0
    assert "Traceback" not in sidecar.output
