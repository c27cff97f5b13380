"""A table that all pods keep as one: each has a copy, and Redis carries what changes from one to another."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from django.db import DatabaseError, connections

from entitlements import metrics
from entitlements.background import Background
from entitlements.domain.ports import Clock
from entitlements.json_fields import Malformed
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.redis.shared_records import SharedRecords

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""What changes here is announced to others so much later; they learn of it after as much again."""

ANSWER_SECONDS = 5.0
"""A database that has not answered by then stands still: it is not asked again before it goes on."""

Record = TypeVar("Record")
Skip = Callable[[str, str], None]
"""Called with the id of a record that is left out, and why."""
_Answer = TypeVar("_Answer")


class SharedBy(Enum):
    """By what the other processes of a deployment learn of a change."""

    DATABASE = "database"
    """All of them use one."""
    REDIS = "redis"
    """Each pod has a database of its own, and all of them one Redis."""
    POD = "pod"
    """By nothing: another pod does not learn of it."""


class Table(Protocol[Record]):
    """One kind of record: how it is kept here, how others learn of it, and which of two versions holds."""

    def rows(self, skip: Skip) -> dict[str, Record]:
        """What the database holds, by id."""
        ...

    def take_over(self, learned: Sequence[Record]) -> None:
        """Keeps what others announced, where it is newer."""
        ...

    def encoded(self, record: Record) -> bytes:
        """For other processes."""
        ...

    def decoded(self, id_: str, received: bytes) -> Record:
        """Of another process.

        Raises:
            Malformed: it cannot be used.
        """
        ...

    def merged(self, held: Record | None, received: Record) -> Record:
        """Which of two versions holds; the same, whoever of the two asks."""
        ...

    def is_past(self, record: Record) -> bool:
        """True when nobody needs to know of it any more."""
        ...


class SharedTable(Generic[Record]):
    """The table as this process knows it. Its methods belong to the event loop."""

    def __init__(
        self,
        table: Table[Record],
        *,
        task: str,
        clock: Clock,
        shared: SharedRecords | None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Keeps one copy.

        Args:
            table: the kind of record.
            task: the name of what runs beside requests.
            clock: for how often is logged.
            shared: between pods with databases of their own.
            poll_seconds: so often is looked.
        """
        self._table = table
        self._task = task
        self._shared = shared
        self._poll_seconds = poll_seconds
        self._log = RateLimitedLog(logger, clock.monotonic)
        self._known: dict[str, Record] = {}
        """The last that was known; it holds while the database cannot be read."""
        self._decoded: dict[str, tuple[bytes, Record]] = {}
        """What Redis held at the last look, so that nothing is read twice."""
        self.is_readable = True
        """False while the database cannot be read."""
        self._thread: ThreadPoolExecutor | None = None
        self._late: asyncio.Future[Any] | None = None
        """A call that the database did not answer in time."""
        self._background: Background | None = None

    @asynccontextmanager
    async def followed(
        self, background: Background, refresh: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """While entered, `refresh` is called at intervals, and once before."""
        self._background = background

        async def poll() -> None:
            while True:
                await asyncio.sleep(self._poll_seconds)
                await refresh()

        # One thread of its own: it keeps its connection, and a slow database delays nothing else.
        self._thread = ThreadPoolExecutor(1, self._task)
        try:
            await refresh()
            async with background.kept(self._task, poll):
                yield
        finally:
            await self._on_thread(connections.close_all)  # that thread's own
            self._thread.shutdown(wait=not self._stands_still())

    async def look(self) -> Mapping[str, Record]:
        """All that is known by now, here and elsewhere; the two are brought to one."""
        stored = await self._on_thread(self._stored)
        self.is_readable = stored is not None
        known = dict(self._known if stored is None else stored)
        learned = await self._exchange(known)
        self._known = known
        if learned:
            await self.write(lambda: self._table.take_over(learned))
        return known

    async def write(self, work: Callable[[], None]) -> None:
        """Writes to the database, unless it could not be read a moment ago; what fails is tried again."""
        if self.is_readable:
            await self._on_thread(lambda: self._written(work))

    def skip(self, id_: str, cause: str) -> None:
        """Notes a record that is left out; from any thread."""
        if self._background is not None:
            self._background.skip(self._task, id_, cause)

    async def _on_thread(self, work: Callable[[], _Answer]) -> _Answer | None:
        """None while the database stands still: what waits for it must not hold up what others announce."""
        if self._stands_still():
            return None
        call = asyncio.get_running_loop().run_in_executor(self._thread, work)
        done, _ = await asyncio.wait({call}, timeout=ANSWER_SECONDS)
        if done:
            return call.result()
        metrics.DATABASE_ERRORS.inc()
        self._log.warning("late", "the database of the %s does not answer", self._name)
        self._late = call
        return None

    def _stands_still(self) -> bool:
        return self._late is not None and not self._late.done()

    @property
    def _name(self) -> str:
        return self._task.replace("-", " ")

    def _stored(self) -> dict[str, Record] | None:
        """What the database holds; None where it cannot be read."""
        try:
            return self._table.rows(self.skip)
        except DatabaseError:
            metrics.DATABASE_ERRORS.inc()
            self._log.warning("reading", "the %s of the database cannot be read", self._name)
            connections.close_all()
            return None

    def _written(self, work: Callable[[], None]) -> None:
        try:
            work()
        except DatabaseError:
            self._log.warning("writing", "the %s of others cannot be written to the database", self._task)
            connections.close_all()

    async def _exchange(self, known: dict[str, Record]) -> list[Record]:
        """Brings what this process and the others know to one; returns what the database must take over."""
        received = None if self._shared is None else await self._shared.read()
        if self._shared is None or received is None:
            return []
        shared = self._read(received)
        learned = []
        for id_, record in shared.items():
            held = known.get(id_)
            best = self._table.merged(held, record)
            if best != held and not self._table.is_past(best):
                known[id_] = best
                learned.append(best)
        unshared = {
            id_: self._table.encoded(each)
            for id_, each in known.items()
            if shared.get(id_) != each and not self._table.is_past(each)
        }
        past = [id_ for id_, each in shared.items() if self._table.is_past(each)]
        await self._shared.write(unshared, removed=past)
        return learned

    def _read(self, received: Mapping[str, bytes]) -> dict[str, Record]:
        before, self._decoded = self._decoded, {}
        for id_, text in received.items():
            earlier = before.get(id_)
            if earlier is not None and earlier[0] == text:
                self._decoded[id_] = earlier
                continue
            try:
                self._decoded[id_] = text, self._table.decoded(id_, text)
            except Malformed as error:
                self.skip(id_, str(error))
        return {id_: record for id_, (_, record) in self._decoded.items()}
