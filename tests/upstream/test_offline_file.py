"""A changed file is read again; a broken one leaves the old one in force."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from entitlements.domain.entity import EntityKey
from entitlements.upstream.offline_document import InvalidOfflineFile
from entitlements.upstream.offline_file import OfflineFile
from tests.cloud_states import boolean_state
from tests.fakes import FakeClock

_SECONDS = 10.0


def _write(path: Path, *customers: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"customers": {name: boolean_state() for name in customers}}))
    os.replace(new, path)


@asynccontextmanager
async def _followed(file: OfflineFile, changed: asyncio.Event) -> AsyncIterator[None]:
    task = asyncio.create_task(file.follow(changed.set, poll_seconds=0.01))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_new_version_is_in_force(tmp_path: Path) -> None:
    """What it does not name any more is not known any more."""
    path = tmp_path / "o.json"
    _write(path, "a")
    file = OfflineFile(path, clock=FakeClock())
    assert file.get(EntityKey("a")) is not None
    changed = asyncio.Event()
    async with _followed(file, changed), asyncio.timeout(_SECONDS):
        _write(path, "b", "c")
        await changed.wait()

    assert file.get(EntityKey("a")) is None
    assert file.get(EntityKey("b")) is not None
    assert file.entities == 2


@pytest.mark.parametrize("content", ["{", None])
async def test_a_broken_version_leaves_the_old_one_in_force(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, until it is fixed."""
    path = tmp_path / "o.json"
    _write(path, "a")
    file = OfflineFile(path, clock=FakeClock())
    changed = asyncio.Event()
    async with _followed(file, changed), asyncio.timeout(_SECONDS):
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        while not file.problems:  # noqa: ASYNC110 - a refusal calls nobody
            await asyncio.sleep(0.01)
        assert file.get(EntityKey("a")) is not None
        assert not changed.is_set()
        assert [record.message for record in caplog.records].count(
            "the new version of the offline file is broken; the old one stays in force"
        ) == 1

        _write(path, "b")
        await changed.wait()

    assert file.problems == ()
    assert file.get(EntityKey("b")) is not None


def test_a_file_that_is_broken_at_the_start_is_refused(tmp_path: Path) -> None:
    """Nothing stands in for it."""
    with pytest.raises(InvalidOfflineFile):
        OfflineFile(tmp_path / "missing.json", clock=FakeClock())
