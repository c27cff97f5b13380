"""The memory tier: entities by key, bounded by real bytes; reads take no lock."""

import threading
from collections.abc import Callable, Iterator
from sys import getsizeof
from typing import NamedTuple, TypeVar

from entitlements import metrics
from entitlements.cache.sieve import Node, Sieve
from entitlements.cache.sizing import growth_by_numbers, size_of
from entitlements.deferred_metrics import settled_at_scrape
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.cached_response import CachedResponse, ResponseKey
from entitlements.domain.entity import EntityKey

Held = TypeVar("Held", CachedEntity, CachedEntity | None)

MAX_REPLIES_PER_ENTITY = 64
"""Past this number of different questions about one entity its replies are forgotten: they do not repeat."""
QUESTION_BITS = 256
"""An entity's questions are told apart by so many bits."""
MAX_QUESTIONS_NOTED = 64
"""When so many bits are set, all are forgotten: more would take new questions for asked ones too often."""
MAX_REQUEST_BYTES = 1024
"""The reply to a longer request is not remembered."""
MAX_REPLY_BYTES = 256 * 1024
"""A longer reply is not remembered."""

_DICT_SLOT_BYTES = 60
"""What a large dict takes per entry just after it has grown; half of it just before."""


class _HeldReply(NamedTuple):
    """A standing reply beside the entity that it was decided from."""

    node: Node
    reply: CachedResponse


_NODE_BYTES = 112 + 64 + _DICT_SLOT_BYTES
"""The node itself (its slots, its garbage collector's header), its bits and its entry in the dict."""
_REPLY_BYTES = 64 + 64 + 80 + 3 * 32 + _DICT_SLOT_BYTES + 8
"""The question, the reply, what joins them, the numbers in it, an entry in the dict and one in a list."""
_RESOURCE_BYTES = getsizeof({None: None}) + _DICT_SLOT_BYTES
"""What a resource adds to the list of its customer's."""


class MemoryTier:
    """What this process holds, at most `max_size_bytes` of it.

    `get`, `recall`, `entries` and `size_bytes` are safe from any thread and never wait; the others take one
    lock.

    The story of a read beside a write. A reader, mostly the gRPC engine's thread, finds the node in the dict,
    marks it, and takes `cached` from it. Between these steps a writer, which is alone with the lock, may

    - replace `cached`: the reader gets the entity of before or of after, each whole, as none ever changes;
    - remove the node: the reader still has it, and answers with what was held a moment ago;
    - take the mark away that was just set: the entity is evicted a round sooner, and that is all.

    A writer forgets the replies of a node before it replaces what they were decided from, so no reply stands
    beside a newer entity. `remember` comes late, after the reader's decision: where the entity was replaced
    in between, the node holds another than the reply was decided from, and the reply is not kept.
    """

    def __init__(self, *, max_size_bytes: int) -> None:
        self._max_size_bytes = max_size_bytes
        self._size_bytes = 0
        self._nodes: dict[EntityKey, Node] = {}
        self._replies: dict[ResponseKey, _HeldReply] = {}
        self._resources: dict[str, dict[EntityKey, None]] = {}
        self._order = Sieve()
        self._writing = threading.Lock()
        self._evictions = metrics.CACHE_EVICTIONS.labels("memory")
        self._entries_gauge = metrics.CACHE_ENTRIES.labels("memory")
        self._bytes_gauge = metrics.CACHE_BYTES.labels("memory")
        settled_at_scrape(self._publish)

    @property
    def entries(self) -> int:
        """How many entities are held."""
        return len(self._nodes)

    @property
    def size_bytes(self) -> int:
        """The bytes they take."""
        return self._size_bytes

    def get(self, key: EntityKey) -> CachedEntity | None:
        """What is held of this entity, or None; the read is marked."""
        node = self._nodes.get(key)
        if node is None:
            return None
        node.is_marked = True
        return node.cached

    def peek(self, key: EntityKey) -> CachedEntity | None:
        """The same without a mark: for who writes all of it down, which says nothing of its use."""
        node = self._nodes.get(key)
        return None if node is None else node.cached

    def recall(self, question: ResponseKey) -> CachedResponse | None:
        """The reply to this question, while what it was decided from is held; the read is marked."""
        held = self._replies.get(question)
        if held is None:
            return None
        node, reply = held
        node.is_marked = True
        return reply

    def is_asked_again(self, key: EntityKey, question: ResponseKey) -> bool:
        """True when this was probably asked of the entity before; notes that it was, without a lock.

        What is asked once, such as by its own requested usage, is not worth a place. Two threads that note
        at a time may lose one of the notes: then it is a first time once more.
        """
        node = self._nodes.get(key)
        if node is None:
            return False
        bit = 1 << (hash(question) % QUESTION_BITS)
        if node.asked & bit:
            return True
        node.asked = bit if node.asked.bit_count() >= MAX_QUESTIONS_NOTED else node.asked | bit
        return False

    def remember(self, key: EntityKey, question: ResponseKey, reply: CachedResponse) -> None:
        """Keeps a reply until the entity it was decided from is replaced or given up; its bytes count.

        It is not kept when another entity is held by now, or when it is past a bound.
        """
        _, request = question
        if len(request) > MAX_REQUEST_BYTES or len(reply.message) > MAX_REPLY_BYTES:
            return
        size_bytes = _size_of_reply(question, reply)
        with self._writing:
            node = self._nodes.get(key)
            if node is None or node.cached is not reply.cached:
                return
            earlier = self._replies.get(question)
            if earlier is None:
                self._attach(node, question, size_bytes)
            else:
                self._resize(node, size_bytes - _size_of_reply(question, earlier.reply))
            self._replies[question] = _HeldReply(node, reply)

    def update(self, key: EntityKey, change: Callable[[CachedEntity | None], Held]) -> Held:
        """Replaces what is held by what `change` makes of it, with no other write in between.

        Args:
            key: whose entitlements.
            change: gets what is held or None, and returns what to hold or None; it must not use this tier.

        Returns:
            What `change` returned, also when it is larger than the whole bound and therefore not kept.
        """
        with self._writing:
            node = self._nodes.get(key)
            held = None if node is None else node.cached
            changed = change(held)
            if changed is not held:
                self._put(key, node, changed)
            return changed

    def drop(self, key: EntityKey) -> None:
        """Forgets an entity."""
        self.update(key, _nothing)

    def clear(self) -> None:
        """Forgets everything."""
        with self._writing:
            self._nodes.clear()
            self._replies.clear()
            self._resources.clear()
            self._order = Sieve()
            self._size_bytes = 0

    def resources_of(self, customer_id: str) -> tuple[EntityKey, ...]:
        """The customer's resources that are held."""
        with self._writing:
            return tuple(self._resources.get(customer_id, ()))

    def holds_resources_of(self, customer_id: str) -> bool:
        """True where some are held; never waits."""
        return customer_id in self._resources

    def keys(self) -> tuple[EntityKey, ...]:
        """All that is held at this moment, the oldest first."""
        with self._writing:
            return tuple(self._nodes)

    def newest_first(self, *, after: EntityKey | None = None) -> Iterator[EntityKey]:
        """What is held, the newest first, from behind `after`; nothing when that is not held.

        Made as it is asked for, without a lock or a copy: what goes meanwhile may still be listed, what comes
        is not. One that is removed still points to what was older, so the way goes on.
        """
        found = None if after is None else self._nodes.get(after)
        node = self._order.newest if after is None else found and found.older
        while node is not None:
            yield node.key
            node = node.older

    def size_of(self, key: EntityKey) -> int | None:
        """The bytes that an entity takes; None when it is not held."""
        node = self._nodes.get(key)
        return None if node is None else node.size_bytes

    def _publish(self) -> None:
        self._entries_gauge.set(len(self._nodes))
        self._bytes_gauge.set(self._size_bytes)

    def _put(self, key: EntityKey, node: Node | None, changed: CachedEntity | None) -> None:
        if changed is None:
            if node is not None:
                self._remove(node)
            return
        if node is None:
            self._put_new(key, changed)
            return
        self._forget_replies(node)
        grown = growth_by_numbers(node.cached, changed)
        if grown is None:
            grown = _size_of_entry(key, changed) - node.size_bytes
        if node.size_bytes + grown > self._max_size_bytes:
            self._remove(node)
            self._evictions.inc()
        else:
            self._make_room(grown, keep=node)
            self._resize(node, grown)
            node.cached = changed

    def _put_new(self, key: EntityKey, cached: CachedEntity) -> None:
        size_bytes = _size_of_entry(key, cached)
        if size_bytes > self._max_size_bytes:
            self._evictions.inc()
        else:
            self._make_room(size_bytes, keep=None)
            self._insert(Node(key, cached, size_bytes))

    def _attach(self, node: Node, question: ResponseKey, size_bytes: int) -> None:
        if node.questions is None or len(node.questions) >= MAX_REPLIES_PER_ENTITY:
            self._forget_replies(node)
            node.questions = []
        self._make_room(size_bytes, keep=node)
        self._resize(node, size_bytes)
        node.questions.append(question)

    def _forget_replies(self, node: Node) -> None:
        if node.questions is not None:
            replies = [(question, self._replies.pop(question)) for question in node.questions]
            self._resize(node, -sum(_size_of_reply(question, held.reply) for question, held in replies))
            node.questions = None

    def _resize(self, node: Node, bytes_more: int) -> None:
        node.size_bytes += bytes_more
        self._size_bytes += bytes_more

    def _make_room(self, needed_bytes: int, *, keep: Node | None) -> None:
        while self._size_bytes + needed_bytes > self._max_size_bytes:
            victim = self._order.next_victim(keep)
            if victim is None:
                return
            self._remove(victim)
            self._evictions.inc()

    def _insert(self, node: Node) -> None:
        self._order.append(node)
        self._nodes[node.key] = node
        self._size_bytes += node.size_bytes
        if node.key.resource_id is not None:
            self._resources.setdefault(node.key.customer_id, {})[node.key] = None

    def _remove(self, node: Node) -> None:
        self._forget_replies(node)
        self._order.remove(node)
        del self._nodes[node.key]
        self._size_bytes -= node.size_bytes
        if node.key.resource_id is not None:
            self._forget_resource(node.key)

    def _forget_resource(self, key: EntityKey) -> None:
        siblings = self._resources[key.customer_id]
        del siblings[key]
        if not siblings:
            del self._resources[key.customer_id]


def _size_of_reply(question: ResponseKey, reply: CachedResponse) -> int:
    _, request = question
    return getsizeof(request) + getsizeof(reply.message) + _REPLY_BYTES


def _nothing(_: CachedEntity | None) -> CachedEntity | None:
    return None


def _size_of_entry(key: EntityKey, cached: CachedEntity) -> int:
    resource_bytes = 0 if key.resource_id is None else _RESOURCE_BYTES
    return size_of(key) + size_of(cached) + _NODE_BYTES + resource_bytes
