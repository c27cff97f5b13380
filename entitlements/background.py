"""All that runs beside requests: started, named, watched, started again and reported in one place.

Nothing else in the house starts a task, so that none can end in silence. There are three kinds, by who learns
of a defect: `keep` is for what runs as long as the process, `once` for short work that nobody waits for, and
`awaited` for work whose callers wait and get its error.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from entitlements import metrics
from entitlements.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
"""Before a task that ended by a defect is started again; doubles while it ends soon after."""
LONGEST_PAUSE_SECONDS = 30.0
STABLE_SECONDS = 60.0
"""A task that ran for so long begins anew: its next defect is the first again."""
REPORTED_SECONDS = 60.0
"""A defect, or a datum that was left out, is reported as a problem for so long."""
MAX_NAME_CHARACTERS = 80
"""So much of a datum's name is logged."""

_Result = TypeVar("_Result")
_Work = Callable[[], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class TaskState:
    """How one task is, for people."""

    is_running: bool = True
    """False while it waits to be started again, and after its end."""
    failures: int = 0
    """So often it ended by a defect."""
    last_failure: str | None = None
    """The kind of the last one; the log has its traceback."""
    skipped: int = 0
    """How many data it left out because they could not be used."""
    troubled_at: float = field(default=float("-inf"))
    """When the last of both happened, monotonic seconds."""


class Background:
    """The parent of every task of one process. Its methods belong to one event loop."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._tasks: set[asyncio.Task[Any]] = set()
        self._states: dict[str, TaskState] = {}
        self._log = RateLimitedLog(logger, monotonic)

    @property
    def states(self) -> Mapping[str, TaskState]:
        """Every kind of task that ever ran, by its name."""
        return dict(self._states)

    @property
    def troubled(self) -> list[str]:
        """The names of those that lately ended by a defect, or left something out."""
        now = self._monotonic()
        return [name for name, state in self.states.items() if now - state.troubled_at < REPORTED_SECONDS]

    def knows(self, task: "asyncio.Task[Any]") -> bool:
        """True for a task that was started here, or whose callers wait for it."""
        return task in self._tasks or task in _AWAITED

    def keep(
        self, name: str, work: _Work, *, outages: tuple[type[Exception], ...] = ()
    ) -> "asyncio.Task[None]":
        """Runs the work until it is cancelled or returns; what ends by a defect is started again.

        Args:
            name: one of a bounded set of names.
            work: called anew for each run.
            outages: what it may raise because others are out of order, who are reported elsewhere: it is
                started again, and that is no defect.
        """
        return self._start(name, self._kept_up(name, work, outages))

    @asynccontextmanager
    async def kept(self, name: str, work: _Work) -> AsyncIterator[None]:
        """While entered, the work is kept running; leaving ends it and waits for its end."""
        task = self.keep(name, work)
        try:
            yield
        finally:
            await ended(task)

    def once(self, name: str, work: _Work) -> "asyncio.Task[None]":
        """Runs short work that nobody waits for; a defect in it is logged and counted."""
        return self._start(name, self._watched(name, work))

    def skip(self, name: str, datum: object, cause: object) -> None:
        """Notes that a task left out one datum that it could not use, and went on; from any thread."""
        metrics.BACKGROUND_SKIPPED.labels(name).inc()
        state = self._states.setdefault(name, TaskState())
        state.skipped += 1
        state.troubled_at = self._monotonic()
        named = repr(datum)[:MAX_NAME_CHARACTERS]
        self._log.warning(f"{name} skips", "a datum was skipped task=%s datum=%s: %s", name, named, cause)

    async def stop(self) -> None:
        """Ends what still runs; can be called twice."""
        await ended(*self._tasks)

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        self._states.setdefault(name, TaskState())
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _kept_up(self, name: str, work: _Work, outages: tuple[type[Exception], ...]) -> None:
        state = self._states[name]
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            started_at = self._monotonic()
            state.is_running = True
            try:
                await work()
            except outages:
                logger.debug("%s waits for what it needs", name)
                pause_seconds = FIRST_PAUSE_SECONDS
            except Exception as error:  # noqa: BLE001 - logged and counted; it must not end while the process lives
                if self._monotonic() - started_at >= STABLE_SECONDS:
                    pause_seconds = FIRST_PAUSE_SECONDS
                self._note_failure(name, error)
            else:
                return
            finally:
                state.is_running = False
            stop_if_cancelled()
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)

    async def _watched(self, name: str, work: _Work) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - logged and counted; nobody else would learn of it
            self._note_failure(name, error)

    def _note_failure(self, name: str, error: Exception) -> None:
        metrics.BACKGROUND_FAILURES.labels(name).inc()
        state = self._states[name]
        state.failures += 1
        state.last_failure = type(error).__name__
        state.troubled_at = self._monotonic()
        message = "a background task ended by a defect task=%s cause=%s"
        self._log.error(f"{name} failed", message, name, state.last_failure, exc_info=error)


_AWAITED: set["asyncio.Task[Any]"] = set()
"""The loop itself remembers a task only as long as somebody else does."""


def awaited(
    work: Coroutine[Any, Any, _Result], *, name: str, loop: asyncio.AbstractEventLoop | None = None
) -> "asyncio.Task[_Result]":
    """Runs work whose callers wait for it, and get what it raises.

    Args:
        work: what is to be done.
        name: for people who look at tasks.
        loop: where, if not on the one that runs.
    """
    task = (loop or asyncio.get_running_loop()).create_task(work, name=name)
    _AWAITED.add(task)
    task.add_done_callback(_AWAITED.discard)
    return task


def stop_if_cancelled() -> None:
    """Ends the task where a library swallowed its cancellation, as asyncio's own do as they dial or close.

    The work would go on, or end in another way and be started again, and whoever cancelled it would wait.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def ended(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels the tasks and waits until they have ended, however they do."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
