"""SIDECAR_DATA_DIR is its owner's alone."""

import logging
import os
import stat
from pathlib import Path

import pytest

from sidecar_project.data_folder import make_private
from tests.harness import running_sidecar


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}


async def test_nothing_that_a_sidecar_leaves_can_be_read_by_others(tmp_path: Path) -> None:
    """Also what an older version left open, and whatever the umask it is started with."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    for name in ("outbox.sqlite3", "secret-key"):
        (folder / name).touch(mode=0o644)
    before = os.umask(0)
    try:
        async with running_sidecar(
            None, folder, OFFLINE="1", SIDECAR_SNAPSHOT_FILE=str(folder / "snapshot")
        ) as sidecar:
            found = modes(folder)
            await sidecar.stop()
        found |= modes(folder)
    finally:
        os.umask(before)

    assert {"data", "sidecar.sqlite3", "secret-key", "control.sock"} <= found.keys()
    assert {} == {name: oct(mode) for name, mode in found.items() if mode & 0o077}


def test_only_what_is_ours_is_closed(tmp_path: Path) -> None:
    """Another's file in the folder stays as it is, and so does what a link leads to."""
    elsewhere = tmp_path / "elsewhere"
    folder = tmp_path / "data"
    folder.mkdir(mode=0o775)
    folder.chmod(0o775)
    for file in (elsewhere, folder / "offline.json", folder / "sidecar.sqlite3-wal"):
        file.touch()
        file.chmod(0o644)
    (folder / "outbox.sqlite3").symlink_to(elsewhere)

    make_private(folder)

    found = modes(folder)
    assert 0o700 == found["data"]
    assert 0o600 == found["sidecar.sqlite3-wal"]
    assert 0o644 == found["offline.json"]
    assert 0o644 == stat.S_IMODE(elsewhere.stat().st_mode)


def test_the_folder_of_all_users_is_not_closed_to_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o1777)

    make_private(tmp_path)

    assert 0o1777 == stat.S_IMODE(tmp_path.stat().st_mode)
    assert "SIDECAR_DATA_DIR is a folder of all users" in caplog.text


@pytest.mark.parametrize(("name", "level"), [("", logging.INFO), ("secret-key", logging.WARNING)])
def test_what_cannot_be_closed_is_reported(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    level: int,
) -> None:
    """A volume's root is an orchestrator's, every start: no alarm."""
    (tmp_path / "secret-key").touch(mode=0o600)
    path = tmp_path / name if name else tmp_path
    path.chmod(path.stat().st_mode | 0o044)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with caplog.at_level(logging.INFO):
        make_private(tmp_path)

    (record,) = caplog.records
    assert level == record.levelno
    assert f"path={path} reason=Operation not permitted" in record.getMessage()
