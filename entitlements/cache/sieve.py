"""SIEVE (Zhang et al., NSDI 2024): the order in which entities came, and which one is evicted next.

A read leaves a mark and moves nothing; a hand that passes from the oldest entity to the newest evicts the
first one without a mark. What is read again survives a scan of what is read once, and a reader on another
thread needs no lock.
"""

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.cached_response import ResponseKey
from entitlements.domain.entity import EntityKey

MAX_MARKS_A_SWEEP = 10_000
"""The most marks that the hand passes over: a million marked entities would stop the loop for 0.1 s."""


class Node:
    """One entity in its place between an older and a newer one."""

    __slots__ = ("asked", "cached", "is_marked", "key", "newer", "older", "questions", "size_bytes")

    def __init__(self, key: EntityKey, cached: CachedEntity, size_bytes: int) -> None:
        self.key = key
        self.cached = cached
        self.questions: list[ResponseKey] | None = None
        self.size_bytes = size_bytes
        self.is_marked = False
        self.asked = 0
        """The questions that were asked, as bits: one that is set may be another's."""
        self.newer: Node | None = None
        self.older: Node | None = None


class Sieve:
    """Nodes from the oldest to the newest; its writers hold a lock of their own."""

    def __init__(self) -> None:
        self.newest: Node | None = None
        self.oldest: Node | None = None
        self._hand: Node | None = None

    def append(self, node: Node) -> None:
        """It becomes the newest."""
        node.older = self.newest
        if self.newest is None:
            self.oldest = node
        else:
            self.newest.newer = node
        self.newest = node

    def remove(self, node: Node) -> None:
        """Takes it out; it still points to its neighbours, so that whoever stands there finds on."""
        if self._hand is node:
            self._hand = node.newer
        if node.older is None:
            self.oldest = node.newer
        else:
            node.older.newer = node.newer
        if node.newer is None:
            self.newest = node.older
        else:
            node.newer.older = node.older

    def next_victim(self, keep: Node | None) -> Node | None:
        """The first one without a mark from where the hand stopped; marks that it passes are taken away."""
        node = self._hand or self.oldest
        marks = 0
        while node is not None and (node is keep or (node.is_marked and marks < MAX_MARKS_A_SWEEP)):
            marks += node.is_marked
            node.is_marked = False
            node = node.newer or self.oldest
        self._hand = node
        return node
