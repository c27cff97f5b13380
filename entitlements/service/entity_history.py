"""The last changes of the entities that changed last, in memory alone and within bounds."""

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import replace
from sys import getsizeof

from entitlements.domain.difference import Difference
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.entity_history import USAGE, HistoryEntry, Origin, changes_between
from entitlements.domain.ports import Clock

MAX_ENTITIES = 1000
"""Of so many the history is kept: those that changed last."""
MAX_ENTRIES = 20
"""The last of one entity."""
MAX_DIFFERENCES = 8
"""Shown of one change; the others are counted."""
MAX_SIZE_BYTES = 8 * 1024 * 1024
"""All of them together."""
_ENTITY_BYTES = 1200
"""What one entity takes besides its entries: its place, its key, a deque."""


class EntityHistory:
    """For any thread: the loop notes, pages read."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[EntityKey, deque[HistoryEntry]] = OrderedDict()
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """About so much memory it takes."""
        return self._size_bytes

    def of(self, key: EntityKey) -> list[HistoryEntry]:
        """The last changes of one customer or resource, the newest first."""
        with self._lock:
            return list(reversed(self._entries.get(key, ())))

    def note(self, key: EntityKey, before: Entity | None, after: Entity | None, origin: Origin) -> None:
        """What is held of an entity was replaced."""
        differences = changes_between(before, after)
        if differences:
            self.note_differences(key, differences, origin)

    def note_differences(self, key: EntityKey, differences: Sequence[Difference], origin: Origin) -> None:
        """Keeps one change; one like the last becomes one entry with it."""
        now_ms = self._clock.now_ms()
        entry = HistoryEntry(
            first_ms=now_ms,
            last_ms=now_ms,
            origin=origin,
            differences=tuple(differences[:MAX_DIFFERENCES]),
            omitted=max(len(differences) - MAX_DIFFERENCES, 0),
        )
        with self._lock:
            self._keep(key, entry)

    def _keep(self, key: EntityKey, entry: HistoryEntry) -> None:
        entries = self._entries.get(key)
        if entries is None:
            entries = self._entries[key] = deque()
            self._size_bytes += _ENTITY_BYTES
        self._entries.move_to_end(key)
        if entries and _is_alike(entries[-1], entry):
            last = entries.pop()
            self._size_bytes -= _size_of(last)
            entry = _joined(last, entry)
        entries.append(entry)
        self._size_bytes += _size_of(entry)
        if len(entries) > MAX_ENTRIES:
            self._size_bytes -= _size_of(entries.popleft())
        while len(self._entries) > MAX_ENTITIES or self._size_bytes > MAX_SIZE_BYTES:
            _, forgotten = self._entries.popitem(last=False)
            self._size_bytes -= _ENTITY_BYTES + sum(map(_size_of, forgotten))


def _is_alike(last: HistoryEntry, entry: HistoryEntry) -> bool:
    """Usage that moves on: of a meter that counts all day nothing else would be left to see."""
    return last.origin is entry.origin and _meters(last) == _meters(entry) is not None


def _meters(entry: HistoryEntry) -> list[str] | None:
    if entry.omitted or any(each.field != USAGE for each in entry.differences):
        return None
    return [each.element for each in entry.differences]


def _joined(last: HistoryEntry, entry: HistoryEntry) -> HistoryEntry:
    return replace(
        entry,
        first_ms=last.first_ms,
        times=last.times + 1,
        differences=tuple(
            each._replace(ours=earlier.ours)
            for earlier, each in zip(last.differences, entry.differences, strict=True)
        ),
    )


def _size_of(entry: HistoryEntry) -> int:
    parts = sum(getsizeof(each) + sum(map(getsizeof, each[1:])) for each in entry.differences)
    return getsizeof(entry) + getsizeof(entry.differences) + 3 * 32 + parts
