"""The memory tier: what it holds, what it gives up, and what other threads see meanwhile."""

import sys
import threading
from collections.abc import Callable, Iterator
from sys import getsizeof

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from prometheus_client import REGISTRY

from entitlements.cache import sieve
from entitlements.cache.memory import MAX_REPLIES_PER_ENTITY, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, MemoryTier
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.cached_response import CachedResponse
from entitlements.domain.entity import EntityKey
from entitlements.domain.freshness import Trust
from tests.cache.samples import CUSTOMER, RESOURCE, big_entity, cached, customer_key, entity, metered


def put(tier: MemoryTier, key: EntityKey, value: CachedEntity) -> None:
    tier.update(key, lambda _: value)


def metric(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"tier": "memory"}) or 0.0


def size_of_one() -> int:
    tier = MemoryTier(max_size_bytes=1_000_000)
    put(tier, customer_key(1), big_entity(1))
    return tier.size_bytes


@pytest.fixture
def tier() -> MemoryTier:
    return MemoryTier(max_size_bytes=1_000_000)


def test_what_was_put_is_got(tier: MemoryTier) -> None:
    put(tier, CUSTOMER, big_entity(1))

    assert big_entity(1) == tier.get(CUSTOMER)
    assert tier.get(RESOURCE) is None


def test_a_change_sees_what_is_held_and_its_result_replaces_it(tier: MemoryTier) -> None:
    put(tier, CUSTOMER, big_entity(1))
    seen = []

    def change(held: CachedEntity | None) -> CachedEntity:
        seen.append(held)
        return big_entity(2)

    returned = tier.update(CUSTOMER, change)

    assert [big_entity(1)] == seen
    assert big_entity(2) == returned
    assert big_entity(2) == tier.get(CUSTOMER)
    assert tier.entries == 1


def test_a_change_to_nothing_drops(tier: MemoryTier) -> None:
    put(tier, CUSTOMER, big_entity(1))

    tier.update(CUSTOMER, lambda _: None)

    assert tier.get(CUSTOMER) is None
    assert 0 == tier.entries
    assert 0 == tier.size_bytes


def test_a_change_that_fails_changes_nothing(tier: MemoryTier) -> None:
    put(tier, CUSTOMER, big_entity(1))

    with pytest.raises(ZeroDivisionError):
        tier.update(CUSTOMER, lambda _: 1 / 0)  # type: ignore[type-var]

    assert big_entity(1) == tier.get(CUSTOMER)
    put(tier, CUSTOMER, big_entity(2))  # and the lock is free


def test_dropping_gives_all_bytes_back(tier: MemoryTier) -> None:
    for key in (CUSTOMER, RESOURCE, customer_key(3)):
        put(tier, key, big_entity(1))

    for key in (RESOURCE, CUSTOMER, customer_key(3), customer_key(4)):
        tier.drop(key)

    assert 0 == tier.entries
    assert 0 == tier.size_bytes
    assert tier.keys() == ()


def test_clearing_forgets_everything(tier: MemoryTier) -> None:
    put(tier, CUSTOMER, big_entity(1))
    put(tier, RESOURCE, big_entity(1))

    tier.clear()

    assert 0 == tier.entries
    assert 0 == tier.size_bytes
    assert tier.resources_of(CUSTOMER.customer_id) == ()
    assert tier.get(CUSTOMER) is None


def test_a_cleared_tier_is_as_good_as_new() -> None:
    tier = MemoryTier(max_size_bytes=3 * size_of_one())
    for number in range(10):
        put(tier, customer_key(number), big_entity(number))
    tier.clear()

    for number in range(10):
        put(tier, customer_key(number), big_entity(number))

    assert tier.keys()[-1] == customer_key(9)
    keys = tier.keys()
    assert tier.entries == len(keys)
    assert tier.entries == len({key for key in keys if tier.get(key)})


def test_the_memory_limit_bounds_real_bytes() -> None:
    """The vendor's counts each customer as 2 bytes, so that its limit bounds nothing."""
    bound = 20 * size_of_one()
    tier = MemoryTier(max_size_bytes=bound)

    for number in range(1000):
        put(tier, customer_key(number), big_entity(number))
        assert tier.size_bytes <= bound

    assert 15 < tier.entries < 25


def test_an_entity_that_grows_pushes_others_out_and_stays() -> None:
    tier = MemoryTier(max_size_bytes=5 * size_of_one())
    for number in range(4):
        put(tier, customer_key(number), big_entity(number))

    put(tier, customer_key(0), big_entity(0, entitlements=40))

    assert big_entity(0, entitlements=40) == tier.get(customer_key(0))
    assert tier.entries < 4
    assert tier.size_bytes <= 5 * size_of_one()


def test_an_entity_that_shrinks_makes_room() -> None:
    tier = MemoryTier(max_size_bytes=5 * size_of_one())
    put(tier, customer_key(0), big_entity(0, entitlements=40))

    put(tier, customer_key(0), big_entity(0))

    assert size_of_one() == pytest.approx(tier.size_bytes, rel=0.05)


@pytest.mark.parametrize("held_before", [True, False])
def test_an_entity_larger_than_the_bound_is_not_kept_and_counts_as_evicted(held_before: bool) -> None:
    tier = MemoryTier(max_size_bytes=2 * size_of_one())
    if held_before:
        put(tier, CUSTOMER, big_entity(1))
    evictions = metric("sidecar_cache_evictions_total")

    returned = tier.update(CUSTOMER, lambda _: big_entity(1, entitlements=100))

    assert big_entity(1, entitlements=100) == returned
    assert tier.get(CUSTOMER) is None
    assert 0 == tier.entries
    assert 0 == tier.size_bytes
    assert metric("sidecar_cache_evictions_total") - evictions == 1


def test_hot_entities_survive_a_scan() -> None:
    tier = MemoryTier(max_size_bytes=20 * size_of_one())
    hot = [customer_key(number) for number in range(5)]
    for number, key in enumerate(hot):
        put(tier, key, big_entity(number))

    survivors = []
    for number in range(100, 1100):
        for key in hot:
            tier.get(key)
        put(tier, customer_key(number), big_entity(number))
        survivors.append(set(hot) <= set(tier.keys()))

    assert all(survivors)


def test_what_was_read_once_is_given_up_in_the_end() -> None:
    """A mark saves from one passing of the hand, not for good."""
    tier = MemoryTier(max_size_bytes=10 * size_of_one())
    put(tier, CUSTOMER, big_entity(1))
    tier.get(CUSTOMER)

    for number in range(100):
        put(tier, customer_key(number), big_entity(number))
        tier.get(customer_key(number - number % 2))

    assert tier.get(CUSTOMER) is None


def test_a_mark_saves_until_the_hand_comes_round_again() -> None:
    """The hand goes on where it stopped: started over each time, it would soon be back at the oldest."""
    tier = MemoryTier(max_size_bytes=4 * size_of_one())
    for number in range(3):
        put(tier, customer_key(number), big_entity(number))
    tier.get(customer_key(0))

    for number in range(3, 6):
        put(tier, customer_key(number), big_entity(number))

    assert customer_key(0) in tier.keys()  # noqa: SIM118  no dict


def test_a_hand_among_marks_only_stops_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sieve, "MAX_MARKS_A_SWEEP", 3)
    tier = MemoryTier(max_size_bytes=10 * size_of_one())
    keys = [customer_key(number) for number in range(9)]
    for number, key in enumerate(keys):
        put(tier, key, big_entity(number))
        tier.get(key)

    put(tier, CUSTOMER, big_entity(9, entitlements=15))

    assert keys[:3] + keys[4:6] == list(tier.keys()[:5])


def test_resources_are_listed_by_their_customer(tier: MemoryTier) -> None:
    other = EntityKey("customer-1", "resource-2")
    for key in (CUSTOMER, RESOURCE, other, EntityKey("customer-2", "resource-1")):
        put(tier, key, big_entity(1))
    both = tier.resources_of("customer-1")

    tier.drop(other)

    assert (RESOURCE, other) == both
    assert (RESOURCE,) == tier.resources_of("customer-1")
    assert tier.resources_of("customer-3") == ()


def test_an_evicted_resource_is_not_listed() -> None:
    tier = MemoryTier(max_size_bytes=2 * size_of_one())
    put(tier, RESOURCE, big_entity(1))

    for number in range(3):
        put(tier, customer_key(number), big_entity(number))

    assert tier.resources_of(RESOURCE.customer_id) == ()


def test_metrics_count_entries_bytes_and_evictions() -> None:
    tier = MemoryTier(max_size_bytes=3 * size_of_one())
    evictions = metric("sidecar_cache_evictions_total")

    for number in range(5):
        put(tier, customer_key(number), big_entity(number))

    assert tier.entries == metric("sidecar_cache_entries")
    assert tier.size_bytes == metric("sidecar_cache_bytes")
    assert 5 - tier.entries == metric("sidecar_cache_evictions_total") - evictions


@pytest.fixture
def eager_switching() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class _Crowd:
    """Threads that read and write one tier until the writers are done; `wrong` collects what must not be."""

    def __init__(self, tier: MemoryTier) -> None:
        self.tier = tier
        self.keys = [EntityKey("customer-1", f"resource-{number}") for number in range(12)]
        self.wrong: list[object] = []
        self._done = threading.Event()

    def run(self) -> None:
        readers = [threading.Thread(target=self._guarded, args=(self._read,)) for _ in range(3)]
        writers = [threading.Thread(target=self._guarded, args=(self._write, first)) for first in range(2)]
        for thread in (*readers, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        self._done.set()
        for thread in readers:
            thread.join()

    def _guarded(self, work: Callable[..., None], *args: int) -> None:
        try:
            work(*args)
        except Exception as error:  # noqa: BLE001  whatever a thread meets fails the test
            self.wrong.append(error)

    def _read(self) -> None:
        while not self._done.is_set():
            for key in self.keys:
                held = self.tier.get(key)
                if held is not None and held.confirmed_at != held.entity.updated_at_ms:
                    self.wrong.append(held)
            if not set(self.tier.resources_of("customer-1")) <= set(self.keys):
                self.wrong.append("resources")

    def _write(self, first_stamp: int) -> None:
        for stamp in range(first_stamp, 3000, 2):
            value = cached(entity(metered(f"f{stamp}"), at_ms=stamp), confirmed_at=float(stamp))
            put(self.tier, self.keys[stamp % 12], value)
            if stamp % 7 == 0:
                self.tier.drop(self.keys[stamp % 5])


@pytest.mark.usefixtures("eager_switching")
def test_readers_on_other_threads_never_see_a_mixture() -> None:
    """Readers and listers beside writers that replace, drop and evict without pause."""
    bound = 3 * size_of_one()
    tier = MemoryTier(max_size_bytes=bound)
    crowd = _Crowd(tier)

    crowd.run()

    assert crowd.wrong == []
    assert tier.entries == len(tier.keys())
    assert tier.entries == len(tier.resources_of("customer-1"))
    assert tier.size_bytes <= bound


@pytest.mark.usefixtures("eager_switching")
def test_concurrent_changes_are_none_lost(tier: MemoryTier) -> None:
    put(tier, CUSTOMER, cached(entity(), confirmed_at=0.0))

    def count_up() -> None:
        for _ in range(500):
            tier.update(CUSTOMER, lambda held: cached(entity(), confirmed_at=held.confirmed_at + 1))  # type: ignore[union-attr]

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert cached(entity(), confirmed_at=2000.0) == tier.get(CUSTOMER)


class AgainstADict(RuleBasedStateMachine):
    """Whatever is done to it, the tier holds a part of what a dict holds, and never more than its bound."""

    keys = st.builds(
        EntityKey, st.sampled_from(["a", "b", "c"]), st.sampled_from([None, "r", "s"])
    )  # few, so that they meet

    def __init__(self) -> None:
        super().__init__()
        self.bound = 6 * size_of_one()
        self.tier = MemoryTier(max_size_bytes=self.bound)
        self.reference: dict[EntityKey, CachedEntity] = {}

    @rule(key=keys, number=st.integers(0, 1000), entitlements=st.integers(0, 30) | st.just(100))
    def put(self, key: EntityKey, number: int, entitlements: int) -> None:
        value = big_entity(number, entitlements=entitlements)
        put(self.tier, key, value)
        self.reference[key] = value
        assert (entitlements == 100) == (self.tier.get(key) is None)

    @rule(key=keys)
    def read(self, key: EntityKey) -> None:
        assert self.tier.get(key) in (None, self.reference.get(key))

    @rule(key=keys)
    def drop(self, key: EntityKey) -> None:
        self.tier.drop(key)
        self.reference.pop(key, None)
        assert self.tier.get(key) is None

    @rule()
    def clear(self) -> None:
        self.tier.clear()
        self.reference.clear()

    @invariant()
    def keeps_its_books(self) -> None:
        held = set(self.tier.keys())
        assert held <= set(self.reference)
        assert self.tier.size_bytes <= self.bound
        assert self.tier.entries == len(held)
        assert (self.tier.size_bytes == 0) == (not held)
        for customer_id in "abc":
            resources = {key for key in held if key.customer_id == customer_id and key.resource_id}
            assert resources == set(self.tier.resources_of(customer_id))


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


METHOD, REQUEST = "/s/Ask", b"flag of customer-1"
QUESTION = (METHOD, REQUEST)


def a_reply(cached: CachedEntity, message: bytes = b"yes") -> CachedResponse:
    return CachedResponse(
        message=message,
        cached=cached,
        trust=Trust(max_unverified_seconds=60),
        fresh_until=100.0,
        from_ms=0,
        until_ms=None,
    )


def held_with_reply(tier: MemoryTier) -> CachedEntity:
    held = big_entity(1)
    put(tier, CUSTOMER, held)
    tier.remember(CUSTOMER, QUESTION, a_reply(held))
    return held


def test_reply_is_recalled_and_its_bytes_count(tier: MemoryTier) -> None:
    """By the same bytes to the same method; it takes more than its own bytes."""
    held = big_entity(1)
    put(tier, CUSTOMER, held)
    before = tier.size_bytes
    tier.remember(CUSTOMER, QUESTION, a_reply(held))

    assert a_reply(held) == tier.recall(QUESTION)
    assert None is tier.recall(("/s/Other", REQUEST))
    assert None is tier.recall((METHOD, b"flag of customer-2"))
    assert tier.size_bytes - before > len(REQUEST) + len(b"yes")


@pytest.mark.parametrize("end", ["replaced", "dropped", "cleared"])
def test_reply_ends_with_what_it_was_decided_from(tier: MemoryTier, end: str) -> None:
    """Another entity under the key, or none: the reply and its bytes are gone."""
    put(tier, CUSTOMER, big_entity(1))
    without_reply = tier.size_bytes
    held_with_reply(tier)
    match end:
        case "replaced":
            put(tier, CUSTOMER, big_entity(1))
        case "dropped":
            tier.drop(CUSTOMER)
        case _:
            tier.clear()

    assert None is tier.recall(QUESTION)
    assert tier.size_bytes == (without_reply if end == "replaced" else 0)


def test_reply_to_another_entity_than_is_held_is_not_kept(tier: MemoryTier) -> None:
    """The entity changed while the reply was made, or was given up."""
    put(tier, CUSTOMER, big_entity(1))
    without_reply = tier.size_bytes
    tier.remember(CUSTOMER, QUESTION, a_reply(big_entity(1)))
    tier.remember(RESOURCE, QUESTION, a_reply(big_entity(1)))

    assert tier.recall(QUESTION) is None
    assert without_reply == tier.size_bytes


def test_reply_that_was_given_again_replaces_the_first(tier: MemoryTier) -> None:
    """And only its own bytes count from then on."""
    held = held_with_reply(tier)
    small = tier.size_bytes
    tier.remember(CUSTOMER, QUESTION, a_reply(held, b"x" * 1000))
    tier.remember(CUSTOMER, QUESTION, a_reply(held))

    assert a_reply(held) == tier.recall(QUESTION)
    assert small == tier.size_bytes


@pytest.mark.parametrize(
    ("request_bytes", "message_bytes"), [(MAX_REQUEST_BYTES + 1, 1), (1, MAX_REPLY_BYTES + 1)]
)
def test_large_reply_is_not_kept(request_bytes: int, message_bytes: int) -> None:
    """Requests and replies are bounded one by one as well."""
    tier = MemoryTier(max_size_bytes=100_000_000)
    held = held_with_reply(tier)
    question = ("/s/Ask", b"x" * request_bytes)
    tier.remember(CUSTOMER, question, a_reply(held, b"x" * message_bytes))

    assert None is tier.recall(question)


def test_largest_reply_is_kept() -> None:
    """The bounds themselves are within."""
    tier = MemoryTier(max_size_bytes=100_000_000)
    held = held_with_reply(tier)
    question = ("/s/Ask", b"x" * MAX_REQUEST_BYTES)
    tier.remember(CUSTOMER, question, a_reply(held, b"x" * MAX_REPLY_BYTES))

    assert tier.recall(question) is not None


def test_replies_of_one_entity_are_bounded(tier: MemoryTier) -> None:
    """Questions that do not repeat push out each other, and no other entity's."""
    put(tier, RESOURCE, big_entity(2))
    of_another = ("/s/Ask", b"of another")
    tier.remember(RESOURCE, of_another, a_reply(big_entity(2)))
    held = held_with_reply(tier)
    for number in range(MAX_REPLIES_PER_ENTITY):
        tier.remember(CUSTOMER, ("/s/Ask", str(number).encode()), a_reply(held))

    last = ("/s/Ask", str(MAX_REPLIES_PER_ENTITY - 1).encode())
    assert tier.recall(QUESTION) is None
    assert a_reply(held) == tier.recall(last)


def test_replies_keep_to_the_bound_of_the_tier() -> None:
    """The tier gives up other entities for them, never more than its bound, and they go with their entity."""
    tier = MemoryTier(max_size_bytes=3 * size_of_one())
    keys = [customer_key(number) for number in range(3)]
    for key in keys:
        put(tier, key, big_entity(1))
    held = tier.get(keys[2])
    assert held is not None
    tier.remember(keys[2], QUESTION, a_reply(held, b"x" * 500))

    assert 2 == tier.entries
    assert a_reply(held, b"x" * 500) == tier.recall(QUESTION)
    assert tier.size_bytes <= 3 * size_of_one()


def test_recalled_entity_survives_a_scan() -> None:
    """Recalling is a use of the entity: what is only scanned goes first."""
    tier = MemoryTier(max_size_bytes=4 * size_of_one())
    held_with_reply(tier)
    for number in range(2, 40):
        put(tier, customer_key(number), big_entity(number))
        assert tier.recall(QUESTION) is not None


def test_a_question_is_asked_again_when_its_entity_was_asked_it() -> None:
    """Of another entity it is another question, and so it is once the entity was given up."""
    tier = MemoryTier(max_size_bytes=10_000_000)
    unheld = tier.is_asked_again(CUSTOMER, QUESTION)
    put(tier, CUSTOMER, big_entity(1))
    put(tier, RESOURCE, big_entity(1))
    asked = [tier.is_asked_again(key, QUESTION) for key in (CUSTOMER, CUSTOMER, RESOURCE)]
    put(tier, CUSTOMER, big_entity(2))
    replaced = tier.is_asked_again(CUSTOMER, QUESTION)
    tier.drop(CUSTOMER)
    put(tier, CUSTOMER, big_entity(1))
    anew = tier.is_asked_again(CUSTOMER, QUESTION)

    assert not unheld
    assert [False, True, False] == asked
    assert replaced
    assert not anew


def test_what_never_repeats_is_seldom_taken_for_asked_before() -> None:
    """However long it goes on: what was noted is forgotten before it could answer for all."""
    tier = MemoryTier(max_size_bytes=10_000_000)
    put(tier, CUSTOMER, big_entity(1))
    taken = sum(tier.is_asked_again(CUSTOMER, ("/s/Ask", b"%d" % each)) for each in range(5000))

    assert taken < 5000 / 4


def test_notes_take_no_more_than_is_counted() -> None:
    tier = MemoryTier(max_size_bytes=10_000_000)
    put(tier, CUSTOMER, big_entity(1))
    for each in range(1000):
        tier.is_asked_again(CUSTOMER, ("/s/Ask", b"%d" % each))

    assert getsizeof(tier._nodes[CUSTOMER].asked) <= 64
