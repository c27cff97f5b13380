"""Commands that need the database, before any sidecar ran with it; and on the folder that was named."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.harness import environment_for
from tests.management.command_runs import run


def _rows(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(folder / "sidecar.sqlite3")) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - ours


async def test_commands_come_before_the_first_start(tmp_path: Path) -> None:
    """They ended in "no such table"; without a key they worked on another folder."""
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"f": {"hasAccess": True}}))
    user = {
        "DJANGO_SUPERUSER_USERNAME": "on-call",
        "DJANGO_SUPERUSER_EMAIL": "",
        "DJANGO_SUPERUSER_PASSWORD": "correct horse battery staple",
    }
    without_key = environment_for(None, tmp_path / "a", **user)

    made = await run(without_key, "createsuperuser", "--noinput")
    taken = await run(environment_for(None, tmp_path / "b"), "fallbacks", "import", str(rules))

    assert 0 == made.code
    assert 0 == taken.code
    assert "taken_over: 1\n" == taken.output
    assert 1 == _rows(tmp_path / "a", "auth_user")
    assert 1 == _rows(tmp_path / "b", "entitlements_fallbackrule")
    assert 0o600 == (tmp_path / "a" / "sidecar.sqlite3").stat().st_mode & 0o777


async def test_what_of_the_environment_is_wrong_is_reported_and_the_rest_holds(tmp_path: Path) -> None:
    wrong = environment_for(None, tmp_path, GRPC_PORT="http", LOG_LEVEL="loud")

    ran = await run(wrong, "fallbacks", "export")

    reported = [line for line in ran.output.splitlines() if line.startswith("warning: ")]
    assert 0 == ran.code
    assert {"GRPC_PORT", "LOG_LEVEL"} == {line.split()[1] for line in reported}
    assert (tmp_path / "sidecar.sqlite3").exists()


async def test_a_folder_that_cannot_be_written_to_is_reported_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    environment = environment_for(None, file)

    runs = [await run(environment, *words) for words in (["changepassword", "x"], ["fallbacks", "export"])]

    for ran in runs:
        assert ran.output.startswith("CommandError: the database cannot be used (OperationalError)")
        assert 2 == ran.code
