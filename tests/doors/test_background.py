"""No task ends in silence: a defect is reported, counted and healed, and one bad datum ends nothing."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest

from entitlements import background as background_module
from entitlements import metrics
from entitlements.background import Background, TaskState, awaited, ended
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def background(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Background]:
    monkeypatch.setattr(background_module, "FIRST_PAUSE_SECONDS", 0.0)
    background = Background(clock.monotonic)
    yield background
    await background.stop()


class Work:
    """Fails so often, and then runs."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.runs = asyncio.Event()

    async def __call__(self) -> None:
        if self._failures:
            raise self._failures.pop(0)
        self.runs.set()
        await asyncio.Event().wait()


def failures_of(task: str) -> float:
    return float(metrics.BACKGROUND_FAILURES.labels(task)._value.get())


async def test_a_task_that_ends_by_a_defect_runs_again(
    background: Background, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported with its traceback once a minute, counted each time, and stands among the troubled."""
    counted = failures_of("sweeper")
    work = Work(ValueError("one"), KeyError("two"))
    async with background.kept("sweeper", work):
        await work.runs.wait()

        state = TaskState(failures=2, last_failure="KeyError", troubled_at=FakeClock().seconds)
        assert {"sweeper": state} == background.states
        assert ["sweeper"] == background.troubled
    assert failures_of("sweeper") == counted + 2
    (record,) = caplog.records
    assert record.getMessage() == "a background task ended by a defect task=sweeper cause=ValueError"
    assert record.exc_info is not None


async def test_trouble_is_forgotten_after_a_while(background: Background, clock: FakeClock) -> None:
    work = Work(ValueError())
    async with background.kept("sweeper", work):
        await work.runs.wait()
        clock.advance(background_module.REPORTED_SECONDS)

        assert [] == background.troubled


async def test_an_outage_of_others_is_no_defect(
    background: Background, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever is out of order is reported elsewhere; the work is tried again."""
    work = Work(ConnectionError(), TimeoutError())
    with caplog.at_level(logging.INFO):
        task = background.keep("feed", work, outages=(OSError,))
        await work.runs.wait()

    assert {"feed": TaskState()} == background.states
    assert "" == caplog.text
    await ended(task)


async def test_the_pause_grows_to_its_bound(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, background: Background
) -> None:
    """A defect that stays must cost nothing; what ran for long begins anew."""
    monkeypatch.undo()
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 8:
            raise asyncio.CancelledError

    async def work() -> None:
        clock.advance(background_module.STABLE_SECONDS if len(pauses) == 7 else 0)
        raise ValueError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    task = background.keep("sweeper", work)
    await asyncio.wait({task})

    assert [1, 2, 4, 8, 16, 30, 30, 1] == pauses


async def test_work_that_is_done_is_not_started_again(background: Background) -> None:
    async def work() -> None:
        return

    await background.keep("key-check", work)

    assert {"key-check": TaskState(is_running=False)} == background.states


async def test_short_work_that_nobody_waits_for_is_watched(
    background: Background, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        raise ValueError

    await background.once("recheck", work)

    assert background.states["recheck"].failures == 1
    assert "task=recheck cause=ValueError" in caplog.text


async def test_what_is_skipped_is_counted_and_named(
    background: Background, caplog: pytest.LogCaptureFixture
) -> None:
    """The name of a datum is somebody else's: it is quoted, and cut where it is long."""
    counted = metrics.BACKGROUND_SKIPPED.labels("snapshot")._value.get()

    background.skip("snapshot", "line\nbreak" + 100 * "x", "no JSON")

    assert metrics.BACKGROUND_SKIPPED.labels("snapshot")._value.get() == counted + 1
    assert ["snapshot"] == background.troubled
    assert f"task=snapshot datum='line\\nbreak{68 * 'x'}: no JSON" in caplog.text


async def test_a_stop_ends_what_still_runs(background: Background) -> None:
    work = Work()
    task = background.keep("sweeper", work)
    await work.runs.wait()
    assert background.knows(task)

    await background.stop()
    await background.stop()

    assert task.cancelled()


async def test_who_waits_learns_what_went_wrong(background: Background) -> None:
    async def work() -> None:
        raise ValueError

    task = awaited(work(), name="search")
    assert background.knows(task)
    with contextlib.suppress(ValueError):
        await task

    assert isinstance(task.exception(), ValueError)
    assert {} == background.states


@pytest.mark.parametrize("error", [ConnectionError(), ValueError()])
async def test_work_that_swallows_its_cancellation_ends_all_the_same(
    background: Background, error: Exception
) -> None:
    """A library that closes something may do so; who stops must not wait for ever."""
    runs = 0
    began = asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        began.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        raise error

    task = background.keep("hearing", work, outages=(OSError,))
    await began.wait()
    async with asyncio.timeout(5):
        await ended(task)

    assert runs == 1
