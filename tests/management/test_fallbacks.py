"""Fallback rules of the database: in force in a running sidecar, carried in and out by the command."""

import asyncio
import json
import sqlite3
import sys
from pathlib import Path

from emulator.server import Emulator
from tests.harness import ROOT, check, client_of, environment_for, running_sidecar

RULES = {"f": {"hasAccess": True, "enumValues": ["a"]}}


async def fallbacks(folder: Path, *arguments: str, text: str = "", **variables: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "manage.py"),
        "fallbacks",
        *arguments,
        env=environment_for(None, folder, OFFLINE="1", **variables),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(text.encode())
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_rule_of_the_database_goes_before_the_environment_s(tmp_path: Path) -> None:
    environment = json.dumps({"f": {"hasAccess": False}, "g": {"hasAccess": True}})
    async with (
        running_sidecar(None, tmp_path, OFFLINE="1", ENTITLEMENTS_FALLBACK=environment) as sidecar,
        client_of(sidecar) as client,
    ):
        before = (await check(client, "c")).has_access
        taken = await fallbacks(tmp_path, "import", "-", text=json.dumps(RULES))
        async with asyncio.timeout(10):
            while not (await check(client, "c")).has_access:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        other = (await check(client, "c", "g")).has_access
        exported = await fallbacks(tmp_path, "export")
        wrong = await fallbacks(tmp_path, "import", "-", text='{"h": {"hasAccess": 1}}')
        with sqlite3.connect(tmp_path / "sidecar.sqlite3") as database:
            database.execute("UPDATE entitlements_fallbackrule SET is_active = 0")
        database.close()
        async with asyncio.timeout(10):
            while (await check(client, "c")).has_access:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    assert not before
    assert 0 == taken[0]
    assert "taken_over: 1\n" == taken[1]
    assert other
    assert RULES == json.loads(exported[1])
    assert 2 == wrong[0]
    assert "h.hasAccess" in wrong[2]


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
