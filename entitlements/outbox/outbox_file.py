"""The outbox's SQLite file: set aside when damaged, missed when deleted, given room on a full disk.

Its methods belong to one thread. Other processes (commands of a person) may have the same file open.
"""

import logging
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from entitlements.domain.ports import Clock

logger = logging.getLogger(__name__)

BUSY_SECONDS = 2.0
"""So long a command of a person and the sidecar wait for each other."""
RESERVE_BYTES = 8 * 1024 * 1024
"""Kept back on the disk, since to remove what was delivered needs room, too: a batch is 4 MiB at most."""
SHRINK_PAGES = 256
"""How many free pages leave the file at a time, each of which takes as much room in the journal first."""
DAMAGED = ".damaged-"
"""In the name of a file that was set aside, before the moment."""
_COMPANIONS = ("", "-wal", "-shm")
_DAMAGES = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,  # what we ask is always right for a file that we made: this is none
    }
)

# The triggers keep the sums right whoever writes, so that a bound is checked without counting.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, write TEXT NOT NULL, size INTEGER NOT NULL,
  accepted_at_ms INTEGER NOT NULL, reason TEXT);
CREATE INDEX IF NOT EXISTS dead ON entries (id) WHERE reason IS NOT NULL;
CREATE TABLE IF NOT EXISTS totals (entries INTEGER NOT NULL, size INTEGER NOT NULL, dead INTEGER NOT NULL);
INSERT INTO totals SELECT 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM totals);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON entries BEGIN
  UPDATE totals SET entries = entries + 1, size = size + NEW.size,
    dead = dead + (NEW.reason IS NOT NULL); END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON entries BEGIN
  UPDATE totals SET entries = entries - 1, size = size - OLD.size,
    dead = dead - (OLD.reason IS NOT NULL); END;
CREATE TRIGGER IF NOT EXISTS turned AFTER UPDATE OF reason ON entries BEGIN
  UPDATE totals SET dead = dead + (NEW.reason IS NOT NULL) - (OLD.reason IS NOT NULL); END;
"""

_Row = tuple[str, int, int, str | None]
_Result = TypeVar("_Result")


class OutboxFile:
    """Runs transactions on the file, whatever becomes of it in between."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._held = 0
        self._losses: deque[int] = deque()

    def taken_losses(self) -> int:
        """How many entries were lost since this was asked last; from any thread."""
        lost = 0
        while self._losses:
            lost += self._losses.popleft()
        return lost

    def has_room(self) -> bool:
        """False while the disk is too full for more to be accepted."""
        try:
            self._refill_reserve()
        except OSError:
            return False
        return True

    def damaged_files(self) -> int:
        """How many files were set aside and are still there."""
        return len(set_aside(self._path))

    def grow(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """One transaction that adds something; raises OSError while the room to settle is not kept back."""
        self._refill_reserve()
        return self._whole(work)

    def run(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """One transaction that adds nothing: where the disk is full it takes the room that is kept back."""
        try:
            return self._whole(work)
        except sqlite3.OperationalError as error:
            if not _is_for_want_of_room(error) or not self._give_reserve():
                raise
        return self._whole(work)

    def close(self) -> None:
        """Closes the file; can be called twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _whole(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Does the work; a file that turns out to be damaged is set aside, and the work done in a new one."""
        self._notice_deletion()
        try:
            return self._done(work)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._begin_anew(error)
        return self._done(work)

    def _done(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        if self._connection is None:
            self._open()
        connection = self._connection
        if connection is None:
            raise AssertionError
        with connection:
            result = work(connection)
            self._held = connection.execute("SELECT entries FROM totals").fetchone()[0]
        return result

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)  # SQLite gives its companions the same mode
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, check_same_thread=False)
        try:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # of a new file alone
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # each commit is flushed: OK means that it survives
            connection.execute("PRAGMA secure_delete=OFF")  # to overwrite needs as much room as to write
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise _damage()
            connection.executescript(_SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        self._identity = _identity_of(self._path)

    def _notice_deletion(self) -> None:
        """A deleted file is still ours to read while it is open: what it holds goes into a new one.

        It is closed before the new one is opened, and what was beside it goes with it: SQLite knows its
        journal by the name, and would take the old one for the new file's.
        """
        if self._connection is None or _identity_of(self._path) == self._identity:
            return
        expected, rows = self._held, _rows_of(self._connection)
        self.close()
        if _identity_of(self._path) is None:
            for companion in _COMPANIONS:
                Path(f"{self._path}{companion}").unlink(missing_ok=True)
        self._losses.append(max(expected - len(rows), 0))
        self._adopt(rows)
        logger.error(
            "the file of the outbox was deleted or replaced while in use; a new one has %d of %d writes "
            "path=%s",
            len(rows),
            expected,
            self._path,
        )

    def _begin_anew(self, error: sqlite3.DatabaseError) -> None:
        """Sets the damaged file aside; what can still be read of it goes into the new one."""
        expected, rows = self._held, self._readable_rows()
        self.close()
        moment = self._clock.now_ms()
        while Path(f"{self._path}{DAMAGED}{moment}").exists():  # what was set aside is never overwritten
            moment += 1
        for companion in _COMPANIONS:
            with suppress(FileNotFoundError):
                os.rename(f"{self._path}{companion}", f"{self._path}{DAMAGED}{moment}{companion}")
        self._losses.append(max(expected - len(rows), 0))
        logger.error(
            "the file of the outbox is damaged and set aside; a new one begins with what could be read, "
            "%d writes %s path=%s cause=%s",
            len(rows),
            f"of {expected}" if expected else "of an unknown number",
            f"{self._path}{DAMAGED}{moment}",
            error.sqlite_errorname,
        )
        self._adopt(rows)

    def _readable_rows(self) -> list[_Row]:
        try:
            connection = self._connection or sqlite3.connect(self._path, timeout=BUSY_SECONDS)
            self._connection = connection
            return _rows_of(connection)
        except sqlite3.Error:
            return []

    def _adopt(self, rows: list[_Row]) -> None:
        if rows:
            statement = "INSERT INTO entries (write, size, accepted_at_ms, reason) VALUES (?, ?, ?, ?)"
            self._done(lambda db: db.executemany(statement, rows))

    @property
    def _reserve(self) -> Path:
        return Path(f"{self._path}.reserve")

    def _refill_reserve(self) -> None:
        """Keeps room back; raises OSError where there is none, or no folder."""
        with suppress(FileNotFoundError):
            if self._reserve.stat().st_size >= RESERVE_BYTES:
                return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._allocate_reserve()
        except OSError:
            self._shrink()
            self._allocate_reserve()

    def _allocate_reserve(self) -> None:
        descriptor = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        except OSError:
            self._give_reserve()  # a part of it may be what others need now
            raise
        finally:
            os.close(descriptor)

    def _shrink(self) -> None:
        """Gives back what the file itself no longer uses, in steps that need little room."""
        connection = self._connection
        if connection is None:
            return
        with suppress(sqlite3.Error):
            if not self._held:
                connection.execute("VACUUM")  # a file of an older version, that cannot do so in steps
            while connection.execute("PRAGMA freelist_count").fetchone()[0]:
                before = self._path.stat().st_size
                connection.execute(f"PRAGMA incremental_vacuum({SHRINK_PAGES})").fetchall()
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                if self._path.stat().st_size >= before:
                    return

    def _give_reserve(self) -> bool:
        """Gives up the room that was kept back; False where there was none."""
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True


def set_aside(path: Path) -> list[Path]:
    """The damaged files that were set aside, without their companions."""
    found = path.parent.glob(f"{path.name}{DAMAGED}*")
    return sorted(each for each in found if not each.name.endswith(_COMPANIONS[1:]))


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _rows_of(connection: sqlite3.Connection) -> list[_Row]:
    """Whatever can be read, in order; a damage ends it."""
    rows: list[_Row] = []
    try:
        for row in connection.execute("SELECT write, size, accepted_at_ms, reason FROM entries ORDER BY id"):
            rows.append(row)  # one by one: an error leaves those before it
    except sqlite3.Error:
        pass
    return rows


def _damage() -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError("quick_check")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    error.sqlite_errorname = "SQLITE_CORRUPT"
    return error


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _DAMAGES or code == sqlite3.SQLITE_IOERR_SHORT_READ


def _is_for_want_of_room(error: sqlite3.OperationalError) -> bool:
    """A full disk is SQLITE_FULL; some file systems and quotas report it as an error of writing."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
