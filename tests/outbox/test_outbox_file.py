"""The outbox's file while its disk is full, while it is damaged, and while somebody takes it away."""

import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from entitlements.domain.errors import OutboxUnavailable
from entitlements.domain.outbox import OutboxLimits
from entitlements.outbox.outbox_file import RESERVE_BYTES, set_aside
from tests.fakes import FakeClock
from tests.outbox.outbox_contract import events, keys_of
from tests.outbox.test_local_file import an_outbox

UNBOUNDED = OutboxLimits(max_entries=10**6, max_bytes=10**9)
MANY = [str(number) for number in range(200)]
SQLITE_PAGE = 4096


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of little more than the reserve."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = RESERVE_BYTES + 2 * 1024 * 1024
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:  # noqa: S603
        pytest.skip("this user cannot mount a disk of its own")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607


async def test_a_disk_that_the_outbox_filled_heals(small_disk: Path) -> None:
    """What was accepted can be settled and buried, and then there is room again.

    A settled entry needs room in the journal first: without it the first batch was sent again for ever.
    """
    outbox = an_outbox(small_disk / "o", UNBOUNDED)
    accepted: list[str] = []
    with suppress(OutboxUnavailable):
        while True:
            await outbox.accept(events(*MANY))
            accepted += MANY
    (small_disk / "filler").write_bytes(
        b"x" * (shutil.disk_usage(small_disk).free // SQLITE_PAGE * SQLITE_PAGE)
    )

    assert len(accepted) == (await outbox.state()).waiting
    taken = await outbox.oldest(1000)
    await outbox.bury(taken[0], reason="no")
    while waiting := await outbox.oldest(1000):
        await outbox.settle(waiting)

    (small_disk / "filler").unlink()
    await outbox.accept(events("later"))
    assert ["later"] == keys_of(await outbox.oldest(10))
    await outbox.stop()


async def test_nothing_is_accepted_without_room_to_settle_it(small_disk: Path) -> None:
    """Somebody else filled the disk: a promise that could never be settled is not given."""
    outbox = an_outbox(small_disk / "o", UNBOUNDED)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 4 * 1024 * 1024)

    with pytest.raises(OutboxUnavailable):
        await outbox.accept(events("a"))

    filler.unlink()
    await outbox.accept(events("b"))
    assert ["b"] == keys_of(await outbox.oldest(10))
    await outbox.stop()


@pytest.mark.parametrize("content", [b"this is no database" * 500, b"SQLite format 3\0" + b"\xff" * 8192])
async def test_a_file_that_is_damaged_at_start_is_set_aside(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is kept under another name, a new one begins, and both are reported."""
    file = tmp_path / "o"
    file.write_bytes(content)
    outbox = an_outbox(file)

    await outbox.accept(events("a"))

    assert ["a"] == keys_of(await outbox.oldest(10))
    (aside,) = set_aside(file)
    assert content == aside.read_bytes()
    assert 1 == (await outbox.state()).damaged_files
    assert "damaged and set aside" in caplog.text
    aside.unlink()
    assert 0 == (await outbox.state()).damaged_files
    await outbox.stop()


async def test_a_foreign_database_is_set_aside(tmp_path: Path) -> None:
    """Sound in itself, it has not our columns."""
    with sqlite3.connect(tmp_path / "o") as foreign:
        foreign.execute("CREATE TABLE entries (something TEXT)")
    foreign.close()
    outbox = an_outbox(tmp_path / "o")

    await outbox.accept(events("a"))

    assert ["a"] == keys_of(await outbox.oldest(10))
    assert 1 == len(set_aside(tmp_path / "o"))
    await outbox.stop()


async def test_a_file_that_is_damaged_while_in_use_is_set_aside(tmp_path: Path) -> None:
    """What cannot be read any more is counted as lost; what comes then is kept."""
    file = tmp_path / "o"
    outbox = an_outbox(file, UNBOUNDED)
    await outbox.accept(events(*MANY))
    with sqlite3.connect(file) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    with file.open("r+b") as damaged:
        damaged.seek(SQLITE_PAGE)
        damaged.write(b"\xff" * (file.stat().st_size - SQLITE_PAGE))

    await outbox.accept(events("a"))

    assert ["a"] == keys_of(await outbox.oldest(10))
    state = await outbox.state()
    assert 1 == state.damaged_files
    assert len(MANY) == outbox.taken_losses()
    assert 0 == outbox.taken_losses()
    await outbox.stop()


async def test_a_file_that_is_deleted_while_in_use_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its content is open still, and goes into a new one, which the next process finds."""
    folder = tmp_path / "data"
    outbox = an_outbox(folder / "o")
    await outbox.accept(events("a", "b", "c"))
    await outbox.bury((await outbox.oldest(1))[0], reason="no")
    shutil.rmtree(folder)

    await outbox.accept(events("d"))
    await outbox.stop()

    second = an_outbox(folder / "o")
    state = await second.state()
    assert ["b", "c", "d"] == keys_of(await second.oldest(10))
    assert 1 == state.dead
    assert 0 == second.taken_losses()
    assert "was deleted or replaced while in use" in caplog.text
    await second.stop()


async def test_a_file_that_is_replaced_while_in_use_keeps_both(tmp_path: Path) -> None:
    """Such as an older one that a person put back."""
    other = an_outbox(tmp_path / "other")
    await other.accept(events("restored"))
    await other.stop()
    outbox = an_outbox(tmp_path / "o")
    await outbox.accept(events("a"))
    for companion in ("-wal", "-shm"):
        (tmp_path / f"o{companion}").unlink()
    (tmp_path / "other").rename(tmp_path / "o")

    assert ["restored", "a"] == keys_of(await outbox.oldest(10))
    await outbox.stop()


async def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    """Events name customers."""
    outbox = an_outbox(tmp_path / "data" / "o")
    await outbox.accept(events("a"))

    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "data").iterdir()}
    assert dict.fromkeys(("o", "o-wal", "o-shm", "o.reserve"), 0o600) == modes
    assert 0o700 == stat.S_IMODE((tmp_path / "data").stat().st_mode)
    await outbox.stop()


async def test_limits_hold_in_the_new_file(tmp_path: Path) -> None:
    """The sums go over with the entries."""
    outbox = an_outbox(tmp_path / "o")
    await outbox.accept(events(*"abcdefg"))
    before = await outbox.state()
    (tmp_path / "o").unlink()

    assert before == await outbox.state()
    assert FakeClock().now_ms() == before.oldest_accepted_at_ms
    await outbox.stop()
