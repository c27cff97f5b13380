"""The outbox in a file."""

import resource
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from entitlements.domain.errors import OutboxUnavailable
from entitlements.domain.outbox import OutboxLimits, Replayed
from entitlements.outbox import local_file
from entitlements.outbox.local_file import LocalFileOutbox
from tests.fakes import FakeClock
from tests.outbox.outbox_contract import LIMITS, OutboxContract, events, keys_of


def an_outbox(file: Path, limits: OutboxLimits = LIMITS) -> LocalFileOutbox:
    return LocalFileOutbox(file, limits=limits, clock=FakeClock())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def outbox(tmp_path: Path, clock: FakeClock) -> AsyncIterator[LocalFileOutbox]:
    outbox = LocalFileOutbox(tmp_path / "outbox.sqlite3", limits=LIMITS, clock=clock)
    yield outbox
    await outbox.stop()


class TestLocalFileOutbox(OutboxContract):
    """The contract."""


async def test_another_process_finds_what_was_accepted(tmp_path: Path) -> None:
    """Without a stop in between: the first may have been killed."""
    first, second = an_outbox(tmp_path / "o"), an_outbox(tmp_path / "o")
    await first.accept(events("a"))

    assert ["a"] == keys_of(await second.oldest(10))
    await first.stop()
    await second.stop()


async def test_unreadable_entry_becomes_a_dead_letter(outbox: LocalFileOutbox, tmp_path: Path) -> None:
    """It does not stop the others."""
    await outbox.accept(events("a", "b"))
    with sqlite3.connect(tmp_path / "outbox.sqlite3") as other:
        other.execute("UPDATE entries SET write = '[]' WHERE id = 1")
    other.close()

    assert ["b"] == keys_of(await outbox.oldest(10))
    assert 1 == (await outbox.state()).dead


async def test_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    """Nothing is promised, and it works once it can; what was refused is not kept then."""
    (tmp_path / "folder").write_text("in the way")
    outbox = an_outbox(tmp_path / "folder" / "o")

    with pytest.raises(OutboxUnavailable):
        await outbox.accept(events("a"))

    (tmp_path / "folder").unlink()
    await outbox.accept(events("b"))
    assert ["b"] == keys_of(await outbox.oldest(10))
    await outbox.stop()


async def test_full_disk_is_reported_and_survived(tmp_path: Path) -> None:
    """A write that does not fit is an error; what was kept stays, and room lets it go on."""
    outbox = an_outbox(tmp_path / "o", OutboxLimits(max_entries=10**6, max_bytes=10**9))
    await outbox.accept(events("a"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))  # Python ignores SIGXFSZ: writes fail
    try:
        with pytest.raises(OutboxUnavailable):
            await outbox.accept(events(*(str(number) for number in range(5000))))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    await outbox.accept(events("b"))
    assert ["a", "b"] == keys_of(await outbox.oldest(10))
    await outbox.stop()


async def test_stopped_outbox_promises_nothing(outbox: LocalFileOutbox) -> None:
    """And can be stopped twice."""
    await outbox.stop()
    await outbox.stop()

    with pytest.raises(OutboxUnavailable):
        await outbox.accept(events("a"))
    with pytest.raises(OutboxUnavailable):
        await outbox.state()


async def test_all_are_acted_on_in_pages(outbox: LocalFileOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each a transaction of its own: the journal of all of them may be more than the disk has left."""
    monkeypatch.setattr(local_file, "PAGE", 3)
    pages: list[tuple[str, int]] = []

    def noted(name: str) -> None:
        work = getattr(local_file, name)

        def note(ids: Sequence[str], *arguments: object) -> object:
            pages.append((name, len(ids)))
            return work(ids, *arguments)

        monkeypatch.setattr(local_file, name, note)

    noted("_replay")
    noted("_remove")
    await outbox.accept(events(*"abcdefghij"))
    for entry in await outbox.oldest(7):
        await outbox.bury(entry, reason="no")

    assert Replayed(count=7) == await outbox.replay()
    assert 10 == await outbox.discard(waiting=True)
    assert [*[("_replay", 3)] * 2, ("_replay", 1), *[("_remove", 3)] * 3, ("_remove", 1)] == pages
