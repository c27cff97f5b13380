"""What memory held outlives the process, and no fault of the disk harms anybody."""

import math
import os
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from entitlements import metrics
from entitlements.background import Background
from entitlements.cache.memory import MemoryTier
from entitlements.cache.snapshot import MAX_AGE_MS, Snapshot
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.freshness import NEVER
from tests.builders import a_boolean_feature, a_credit, an_entity
from tests.eventually import eventually
from tests.fakes import FakeClock

A, B = EntityKey("a"), EntityKey("b", "r")
_ENTITY = an_entity(a_boolean_feature("f"))
_BOUND = 1_000_000


def _hold(memory: MemoryTier, key: EntityKey, *, confirmed_at: float, entity: Entity = _ENTITY) -> None:
    memory.update(key, lambda _: CachedEntity(entity=entity, confirmed_at=confirmed_at))


@contextmanager
def _opened(
    path: Path, clock: FakeClock, *, memory: MemoryTier | None = None, bound: int = _BOUND
) -> Iterator[Snapshot]:
    memory = memory or MemoryTier(max_size_bytes=_BOUND)
    background = Background(clock.monotonic)
    snapshot = Snapshot(path, memory=memory, clock=clock, max_size_bytes=bound, background=background)
    with closing(snapshot):
        yield snapshot


async def _saved(path: Path, clock: FakeClock, *keys: EntityKey, confirmed_at: float | None = None) -> None:
    memory = MemoryTier(max_size_bytes=_BOUND)
    for key in keys:
        _hold(memory, key, confirmed_at=clock.monotonic() if confirmed_at is None else confirmed_at)
    with _opened(path, clock, memory=memory) as snapshot:
        await snapshot.save()


async def test_the_next_process_knows_what_the_last_one_held(tmp_path: Path) -> None:
    """Its owner's alone, and nothing is left beside it."""
    path = tmp_path / "snapshot"
    await _saved(path, FakeClock(), A, B)

    with _opened(path, FakeClock()) as snapshot:
        assert [_ENTITY, _ENTITY, None] == [snapshot.get(key) for key in (A, B, EntityKey("c"))]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [path.name] == os.listdir(tmp_path)


async def test_what_was_not_asked_for_survives_two_restarts_but_not_for_ever(tmp_path: Path) -> None:
    """A new file takes it over with its age, also once it was used without being confirmed."""
    path, clock = tmp_path / "snapshot", FakeClock()
    await _saved(path, clock, A, B)
    clock.advance(MAX_AGE_MS / 1000 - 10)
    await _saved(path, clock, B, confirmed_at=NEVER)
    with _opened(path, clock) as snapshot:
        assert _ENTITY == snapshot.get(A)
        assert _ENTITY == snapshot.get(B)
        clock.advance(20)
        assert snapshot.get(A) is None
        assert snapshot.get(B) is None

    await _saved(path, clock)
    with _opened(path, clock) as snapshot:
        assert snapshot.entities == 0


async def test_the_file_is_bounded_and_memory_comes_first(tmp_path: Path) -> None:
    """What only the old file knew gives way."""
    path, clock = tmp_path / "snapshot", FakeClock()
    await _saved(path, clock, *(EntityKey(str(number)) for number in range(10)))
    bound = path.stat().st_size
    memory = MemoryTier(max_size_bytes=_BOUND)
    _hold(memory, EntityKey("new"), confirmed_at=1)
    with _opened(path, clock, memory=memory, bound=bound) as snapshot:
        await snapshot.save()

        assert snapshot.get(EntityKey("new")) == _ENTITY
        assert snapshot.entities in {9, 10}
    assert path.stat().st_size <= bound


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"{}\n", b'{"format": "x"}\n{}\n'])
async def test_a_file_of_another_kind_is_junk(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, nothing is known, and it is replaced."""
    path = tmp_path / "snapshot"
    path.write_bytes(content)
    with _opened(path, FakeClock()) as snapshot:
        assert snapshot.entities == 0
        assert "the snapshot holds what cannot be used" in caplog.text
    await _saved(path, FakeClock(), A)
    with _opened(path, FakeClock()) as snapshot:
        assert snapshot.get(A) == _ENTITY


async def test_a_line_that_broke_since_is_a_miss(tmp_path: Path) -> None:
    """The others are read."""
    path = tmp_path / "snapshot"
    await _saved(path, FakeClock(), A, B)
    content = path.read_bytes()
    path.write_bytes(content[:-20] + b"x" * 19 + b"\n")

    with _opened(path, FakeClock()) as snapshot:
        assert _ENTITY == snapshot.get(A)
        assert snapshot.get(B) is None


async def test_a_disk_that_takes_nothing_leaves_the_old_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once a minute; what was known stays known."""
    path = tmp_path / "folder" / "snapshot"
    path.parent.mkdir()
    await _saved(path, FakeClock(), A)
    with _opened(path, FakeClock()) as snapshot:
        path.unlink()
        path.parent.rmdir()
        await snapshot.save()
        await snapshot.save()

        assert snapshot.get(A) == _ENTITY
        assert snapshot.written_ms is None
    assert caplog.text.count("the snapshot cannot be written") == 1


async def test_it_is_kept_at_intervals_and_at_the_end(tmp_path: Path) -> None:
    """What came after the last interval is in it."""
    path, clock = tmp_path / "snapshot", FakeClock()
    memory = MemoryTier(max_size_bytes=_BOUND)
    _hold(memory, A, confirmed_at=1)
    with _opened(path, clock, memory=memory) as snapshot:
        async with snapshot.kept(interval_seconds=0.01):
            await eventually(lambda: snapshot.written_ms)
            _hold(memory, B, confirmed_at=1)

    with _opened(path, clock) as snapshot:
        assert snapshot.entities == 2


def _customer_with(meta_data: object) -> Entity:
    currency = replace(a_credit().currency, additional_meta_data={"theirs": meta_data})
    return an_entity(replace(a_credit(), currency=currency))


async def test_a_customer_whose_metadata_is_no_number_is_in_it(tmp_path: Path) -> None:
    """NaN is null there, as JavaScript would write it; nobody is left out."""
    path, clock = tmp_path / "snapshot", FakeClock()
    memory = MemoryTier(max_size_bytes=_BOUND)
    _hold(memory, A, confirmed_at=1, entity=_customer_with(math.nan))
    _hold(memory, B, confirmed_at=1)
    with _opened(path, clock, memory=memory) as snapshot:
        await snapshot.save()

        assert _customer_with(None) == snapshot.get(A)
        assert _ENTITY == snapshot.get(B)


@pytest.mark.parametrize("meta_data", [object(), 1j])
async def test_a_customer_that_cannot_be_written_is_left_out_and_named(
    tmp_path: Path, meta_data: object, caplog: pytest.LogCaptureFixture
) -> None:
    """All others are in the file, and it is written again and again."""
    path, clock = tmp_path / "snapshot", FakeClock()
    memory = MemoryTier(max_size_bytes=_BOUND)
    _hold(memory, A, confirmed_at=1, entity=_customer_with(meta_data))
    _hold(memory, B, confirmed_at=1)
    counted = metrics.BACKGROUND_SKIPPED.labels("snapshot")._value.get()
    with _opened(path, clock, memory=memory) as snapshot:
        await snapshot.save()
        await snapshot.save()

        assert snapshot.get(A) is None
        assert _ENTITY == snapshot.get(B)
        assert not snapshot.has_failed
    assert metrics.BACKGROUND_SKIPPED.labels("snapshot")._value.get() == counted + 2
    assert caplog.text.count("a datum was skipped task=snapshot datum=EntityKey(customer_id='a'") == 1
