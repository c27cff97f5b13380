"""What memory held, on disk: the last resort when neither Redis nor the cloud answers after a restart.

Memory keeps only where each entity is in the file. A new file takes over what the old one knew of others.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from math import isfinite
from pathlib import Path
from typing import BinaryIO

from entitlements import metrics
from entitlements.background import Background
from entitlements.cache.memory import MemoryTier
from entitlements.cache.snapshot_file import Place, entity_of, header, is_header, line_of, places_in
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.errors import SidecarError
from entitlements.domain.ports import Clock
from entitlements.json_fields import Malformed
from entitlements.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)

MAX_AGE_MS = 7 * 86_400_000
"""What the cloud has not confirmed for longer is not kept."""
TASK = "snapshot"
ENTITIES_PER_TURN = 100
TURN_SECONDS = 0.001
"""Number of entities after which the event loop gets its turn at the interpreter."""


class Snapshot:
    """The snapshot of one process; its methods belong to one event loop, the writing is done on a thread."""

    def __init__(
        self, path: Path, *, memory: MemoryTier, clock: Clock, max_size_bytes: int, background: Background
    ) -> None:
        """Opens what is there.

        Args:
            path: SIDECAR_SNAPSHOT_FILE.
            memory: what is written.
            clock: for the age of what is written.
            max_size_bytes: of the file; past it what only the old file knew is left out.
            background: the parent of the task that writes.
        """
        self.path = path
        self.written_ms: int | None = None
        """When this process wrote it last."""
        self.has_failed = False
        """True after a writing that failed, until one succeeds."""
        self._memory = memory
        self._clock = clock
        self._max_size_bytes = max_size_bytes
        self._background = background
        self._file: BinaryIO | None = None
        self._places: dict[EntityKey, Place] = {}
        self._writing = threading.Lock()
        self._log = RateLimitedLog(logger, clock.monotonic)
        self._open()

    @property
    def entities(self) -> int:
        """How many customers and resources it knows."""
        return len(self._places)

    def get(self, key: EntityKey) -> Entity | None:
        """What was known last, or None; read from the disk."""
        place, file = self._places.get(key), self._file
        if place is None or file is None or self._is_too_old(place):
            return None
        try:
            return entity_of(os.pread(file.fileno(), place.size_bytes, place.offset))
        except (Malformed, OSError):
            self._note_junk(1)
            return None

    @asynccontextmanager
    async def kept(self, *, interval_seconds: float) -> AsyncIterator[None]:
        """While entered, it is written at intervals; leaving writes it once more."""

        async def write_regularly() -> None:
            while True:
                await asyncio.sleep(interval_seconds)
                await self.save()

        try:
            async with self._background.kept(TASK, write_regularly):
                yield
        finally:
            await self.save()

    async def save(self) -> None:
        """Replaces the file by what memory holds now; the old one stays where that fails."""
        try:
            file, places = await asyncio.to_thread(self._write)
        except OSError as error:
            self.has_failed = True
            metrics.SNAPSHOT_WRITES.labels("failed").inc()
            self._log.warning("write", "the snapshot cannot be written: %s", error.strerror)
            return
        old, self._file, self._places = self._file, file, places
        if old is not None:
            old.close()
        self.written_ms = self._clock.now_ms()
        self.has_failed = False
        metrics.SNAPSHOT_WRITES.labels("written").inc()

    def close(self) -> None:
        """Lets go of the file; may be called twice."""
        self._places = {}
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self) -> tuple[BinaryIO, dict[EntityKey, Place]]:
        new = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with self._writing:  # one that was given up may still be under way
            try:
                return self._written(new)
            finally:
                with suppress(OSError):  # it is there only where the writing failed
                    new.unlink()

    def _written(self, new: Path) -> tuple[BinaryIO, dict[EntityKey, Place]]:
        places: dict[EntityKey, Place] = {}
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        file = os.fdopen(descriptor, "w+b")
        try:
            offset = file.write(header(now_ms=self._clock.now_ms()))
            for number, (key, line, confirmed_ms) in enumerate(self._lines()):
                if offset + len(line) > self._max_size_bytes:
                    break
                file.write(line)
                places[key] = Place(offset=offset, size_bytes=len(line), confirmed_ms=confirmed_ms)
                offset += len(line)
                if number % ENTITIES_PER_TURN == 0:
                    time.sleep(TURN_SECONDS)
            file.flush()
            os.fsync(descriptor)
            new.replace(self.path)
        except BaseException:
            file.close()
            raise
        return file, places

    def _lines(self) -> Iterator[tuple[EntityKey, bytes, int]]:
        """What memory holds, and then what only the old file knows."""
        held = self._memory.keys()
        for key in held:
            cached = self._memory.peek(key)
            if cached is None:
                continue
            confirmed_ms = self._confirmed_ms(key, cached.confirmed_at)
            try:
                line = line_of(key, cached.entity, confirmed_ms=confirmed_ms)
            except (SidecarError, ValueError, TypeError, RecursionError) as error:
                # Nothing of ours is known to get here; but one customer must not keep all others out.
                self._background.skip(TASK, key, type(error).__name__)
                continue
            yield key, line, confirmed_ms
        file = self._file
        others = self._places.keys() - set(held)
        for key in others:
            place = self._places[key]
            if file is not None and not self._is_too_old(place):
                yield key, os.pread(file.fileno(), place.size_bytes, place.offset), place.confirmed_ms

    def _confirmed_ms(self, key: EntityKey, confirmed_at: float) -> int:
        """The wall clock's moment; what came from the file and was never confirmed keeps the file's."""
        if isfinite(confirmed_at):
            return self._clock.now_ms() - round((self._clock.monotonic() - confirmed_at) * 1000)
        place = self._places.get(key)
        return self._clock.now_ms() if place is None else place.confirmed_ms

    def _is_too_old(self, place: Place) -> bool:
        return self._clock.now_ms() - place.confirmed_ms > MAX_AGE_MS

    def _open(self) -> None:
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            self._log.warning("read", "the snapshot cannot be read: %s", error.strerror)
            return
        if not is_header(file.readline(1000)):
            file.close()
            self._note_junk(1)
            return
        found = list(places_in(file, max_size_bytes=self._max_size_bytes))
        self._file, self._places = file, dict(place for place in found if place is not None)
        junk = found.count(None)
        if junk:
            self._note_junk(junk)
        logger.info("a snapshot was read", extra={"entities": self.entities})

    def _note_junk(self, count: int) -> None:
        metrics.CACHE_JUNK.labels("snapshot").inc(count)
        self._log.warning("junk", "the snapshot holds what cannot be used")
