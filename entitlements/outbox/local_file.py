"""The outbox in a file of this machine: SQLite, on one thread of its own.

Concurrent callers share a commit, so that each waits for about one flush of the disk and not for all.
"""

import asyncio
import json
import logging
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from entitlements.domain.errors import OutboxUnavailable, Overloaded, SidecarError
from entitlements.domain.outbox import (
    KEY_MEMORY_MS,
    TOO_OLD,
    DeadLetter,
    OutboxEntry,
    OutboxLimits,
    OutboxState,
    Replayed,
    Write,
)
from entitlements.domain.ports import Clock
from entitlements.outbox.codec import UNREADABLE, Unreadable, decode, encode
from entitlements.outbox.outbox_file import OutboxFile
from entitlements.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)

PAGE = 200
"""So many entries are replayed or discarded in one transaction."""

_COLUMNS = "SELECT id, write, size, accepted_at_ms, reason FROM entries"

_Result = TypeVar("_Result")


@dataclass(slots=True, kw_only=True)
class _Request:
    rows: list[tuple[str, int, int]]
    done: "asyncio.Future[None]"

    @property
    def size_bytes(self) -> int:
        return sum(size for _, size, _ in self.rows)


class LocalFileOutbox:
    """An `Outbox` of one machine; its methods belong to one event loop."""

    def __init__(self, file: Path, *, limits: OutboxLimits, clock: Clock) -> None:
        self._file = OutboxFile(file, clock=clock)
        self._limits = limits
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._is_stopped = False
        self._log = RateLimitedLog(logger, clock.monotonic)
        self._requests: deque[_Request] = deque()

    async def accept(self, writes: Sequence[Write]) -> None:
        """Keeps all of them, or none, on the disk."""
        now_ms = self._clock.now_ms()
        texts = [encode(write) for write in writes]
        loop = asyncio.get_running_loop()
        request = _Request(rows=[(text, len(text), now_ms) for text in texts], done=loop.create_future())
        self._requests.append(request)
        try:
            loop.run_in_executor(self._thread, self._commit_requests)
        except RuntimeError as exception:  # stopped
            raise OutboxUnavailable from exception
        await request.done

    async def oldest(self, count: int) -> Sequence[OutboxEntry]:
        """The entries that wait longest."""
        rows = await self._run(
            lambda db: db.execute(f"{_COLUMNS} WHERE reason IS NULL ORDER BY id LIMIT ?", [count]).fetchall()
        )
        entries = []
        for row in rows:
            try:
                entries.append(_entry(row))
            except Unreadable:
                await self._set_reason(row[0], UNREADABLE)
        return entries

    async def waiting(self, count: int) -> Sequence[OutboxEntry]:
        """The same: one process alone delivers from a file."""
        return await self.oldest(count)

    async def settle(self, entries: Sequence[OutboxEntry]) -> None:
        """Removes what was delivered."""
        await self._run(partial(_remove, [entry.id for entry in entries]))

    async def bury(self, entry: OutboxEntry, *, reason: str) -> None:
        """Makes an entry a dead letter."""
        await self._set_reason(entry.id, reason)

    async def dead_letters(self, count: int) -> Sequence[DeadLetter]:
        """The oldest dead letters that can be read."""
        rows = await self._run(
            lambda db: db.execute(
                f"{_COLUMNS} WHERE reason IS NOT NULL ORDER BY id LIMIT ?", [count]
            ).fetchall()
        )
        return list(_readable(rows))

    async def replay(self, ids: Sequence[str] | None = None, *, even_too_old: bool = False) -> Replayed:
        """Has dead letters wait again, where they stood."""
        now_ms = self._clock.now_ms()
        spared = None if even_too_old else TOO_OLD
        count = kept = 0
        async for page in self._pages(ids, waiting=False):
            replayed = await self._run(partial(_replay, page, spared, now_ms))
            count, kept = count + replayed.count, kept + replayed.kept
        return Replayed(count=count, kept=kept)

    async def discard(self, ids: Sequence[str] | None = None, *, waiting: bool = False) -> int:
        """Removes what is named for good, or all dead letters, with `waiting` what waits as well."""
        discarded = 0
        async for page in self._pages(ids, waiting=waiting):
            discarded += await self._run(partial(_remove, page))
        return discarded

    async def state(self) -> OutboxState:
        """How full it is, and what became of the file."""
        return await self._on_thread(self._read_state)

    def taken_losses(self) -> int:
        """The number of entries found to be lost since this was called last."""
        return self._file.taken_losses()

    async def stop(self) -> None:
        """Closes the file once what was accepted is on the disk."""
        if not self._is_stopped:
            self._is_stopped = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        self._thread.shutdown(wait=False)

    def _read_state(self) -> OutboxState:
        state = self._file.run(_state)
        return replace(state, has_room=self._file.has_room(), damaged_files=self._file.damaged_files())

    async def _run(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        return await self._on_thread(lambda: self._file.run(work))

    async def _on_thread(self, work: Callable[[], _Result]) -> _Result:
        try:
            # Shielded: a caller that gives up must not undo what others share with it.
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))
        except (sqlite3.Error, OSError, RuntimeError) as exception:
            self._failed(exception)
            raise OutboxUnavailable from exception

    def _failed(self, exception: Exception) -> None:
        cause = getattr(exception, "sqlite_errorname", "") or getattr(exception, "strerror", "") or "stopped"
        self._log.warning(cause, "the file of the outbox cannot be used cause=%s", cause)

    def _commit_requests(self) -> None:
        """Writes what all callers brought until now; who finds nothing was served by an earlier one."""
        requests = []
        while self._requests:
            requests.append(self._requests.popleft())
        outcomes: Sequence[SidecarError | None]
        try:
            outcomes = self._file.grow(lambda db: [self._insert(db, request) for request in requests])
        except (sqlite3.Error, OSError) as exception:
            self._failed(exception)
            outcomes = [OutboxUnavailable() for _ in requests]
        for request, outcome in zip(requests, outcomes, strict=True):
            request.done.get_loop().call_soon_threadsafe(_finish, request.done, outcome)

    def _insert(self, connection: sqlite3.Connection, request: _Request) -> SidecarError | None:
        entries, size = connection.execute("SELECT entries, size FROM totals").fetchone()
        if entries + len(request.rows) > self._limits.max_entries:
            return Overloaded("SIDECAR_OUTBOX_MAX_ENTRIES")
        if size + request.size_bytes > self._limits.max_bytes:
            return Overloaded("SIDECAR_OUTBOX_MAX_BYTES")
        connection.executemany(
            "INSERT INTO entries (write, size, accepted_at_ms) VALUES (?, ?, ?)", request.rows
        )
        return None

    async def _set_reason(self, id_: str, reason: str) -> None:
        await self._run(
            lambda db: db.execute("UPDATE entries SET reason = ? WHERE id = ?", [reason, id_]).rowcount
        )

    async def _pages(self, ids: Sequence[str] | None, *, waiting: bool) -> AsyncIterator[Sequence[str]]:
        """What is named, else all that is there now: a page takes little time, and little of the journal."""
        if ids is not None:
            for at in range(0, len(ids), PAGE):
                yield ids[at : at + PAGE]
            return
        last = 0
        end = (await self._run(lambda db: db.execute("SELECT max(id) FROM entries").fetchone()))[0] or 0
        while page := await self._run(partial(_ids, waiting, last, end)):
            yield [str(id_) for id_ in page]
            last = page[-1]


def _ids(waiting: bool, last: int, end: int, connection: sqlite3.Connection) -> list[int]:
    found = connection.execute(
        "SELECT id FROM entries WHERE id > ? AND id <= ? AND (? OR reason IS NOT NULL) ORDER BY id LIMIT ?",
        [last, end, waiting, PAGE],
    )
    return [row[0] for row in found]


def _remove(ids: Sequence[str], connection: sqlite3.Connection) -> int:
    return connection.executemany("DELETE FROM entries WHERE id = ?", [(id_,) for id_ in ids]).rowcount


def _replay(ids: Sequence[str], spared: str | None, now_ms: int, connection: sqlite3.Connection) -> Replayed:
    named = json.dumps(ids)
    kept = connection.execute(
        "SELECT count(*) FROM entries WHERE reason = ? AND id IN (SELECT value FROM json_each(?))",
        [spared, named],
    )
    moved = connection.execute(
        "UPDATE entries SET reason = NULL,"
        " accepted_at_ms = CASE WHEN accepted_at_ms < ? THEN ? ELSE accepted_at_ms END"
        " WHERE reason IS NOT NULL AND reason IS NOT ? AND id IN (SELECT value FROM json_each(?))",
        [now_ms - KEY_MEMORY_MS, now_ms, spared, named],
    )
    return Replayed(count=moved.rowcount, kept=kept.fetchone()[0])


def _state(connection: sqlite3.Connection) -> OutboxState:
    entries, size, dead = connection.execute("SELECT entries, size, dead FROM totals").fetchone()
    oldest = connection.execute(
        "SELECT accepted_at_ms FROM entries WHERE reason IS NULL ORDER BY id LIMIT 1"
    ).fetchone()
    return OutboxState(
        waiting=entries - dead,
        dead=dead,
        size_bytes=size,
        oldest_accepted_at_ms=None if oldest is None else oldest[0],
    )


def _entry(row: tuple[int, str, int, int, str | None]) -> OutboxEntry:
    id_, text, size, accepted_at_ms, _ = row
    return OutboxEntry(id=str(id_), write=decode(text), accepted_at_ms=accepted_at_ms, size_bytes=size)


def _readable(rows: Iterable[tuple[int, str, int, int, str | None]]) -> Iterable[DeadLetter]:
    for row in rows:
        try:
            yield DeadLetter(entry=_entry(row), reason=row[4] or "")
        except Unreadable:
            continue


def _finish(done: "asyncio.Future[None]", outcome: SidecarError | None) -> None:
    if done.done():
        return
    if outcome is None:
        done.set_result(None)
    else:
        done.set_exception(outcome)
