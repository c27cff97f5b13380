"""The tiers as one store: memory alone, and before a shared tier."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from entitlements.cache.memory import MemoryTier
from entitlements.cache.redis import RedisTier
from entitlements.cache.tiers import Miss, Shared, Tiers
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import EntityKey, UsageUpdate
from entitlements.domain.entity_history import NoHistory, Origin
from entitlements.domain.freshness import NEVER
from entitlements.domain.ports import FetchClaim, Lookup, Source
from entitlements.redis.connection import RedisConnection
from tests.cache.samples import CUSTOMER, NOW_MS, cached, credit, entity, metered, usage_update
from tests.cache.store_contract import EntityStoreContract


def _found(held: CachedEntity, source: Source) -> Lookup:
    return Lookup(key=CUSTOMER, cached=held, source=source)


class ScriptedShared:
    """A shared tier in a dict; before it answers a read it does what the test wants to happen meanwhile."""

    def __init__(self) -> None:
        self.held: dict[EntityKey, CachedEntity] = {}
        self.moves: list[UsageUpdate] = []
        self.outcome = Shared.MISSING
        self.meanwhile: Callable[[], object] = lambda: None
        self.reads = 0
        self.stored = Shared.TAKEN

    async def get(self, key: EntityKey, *, claim: FetchClaim | None = None) -> CachedEntity | Miss:
        self.reads += 1
        found: CachedEntity | Miss = self.held.get(key, Miss.ABSENT)
        await asyncio.sleep(0)
        self.meanwhile()
        return found

    async def store(self, key: EntityKey, cached: CachedEntity, *, claim: FetchClaim | None = None) -> Shared:
        self.held[key] = cached
        return self.stored

    async def apply_usage(self, key: EntityKey, update: UsageUpdate) -> Shared:
        self.moves.append(update)
        return self.outcome

    async def drop(self, key: EntityKey) -> None:
        self.held.pop(key, None)


def a_memory() -> MemoryTier:
    return MemoryTier(max_size_bytes=1_000_000)


@pytest.fixture
def shared() -> ScriptedShared:
    return ScriptedShared()


class TestMemoryAlone(EntityStoreContract):
    """Without Redis the tiers are this process's memory."""

    @pytest.fixture
    def store(self) -> Tiers:
        return Tiers(a_memory())


class TestMemoryBeforeRedis(EntityStoreContract):
    """With Redis the tiers behave as without it."""

    @pytest.fixture
    def store(self, tier: RedisTier) -> Tiers:
        return Tiers(a_memory(), tier)


class TestMemoryBeforeARedisThatIsGone(EntityStoreContract):
    """Without a Redis that answers the tiers behave as without one."""

    @pytest.fixture
    def store(self, tier: RedisTier, connection: RedisConnection) -> Tiers:
        connection.stop()
        return Tiers(a_memory(), tier)


async def test_what_one_process_stored_another_finds(tier: RedisTier) -> None:
    age_seconds = 5.0
    stored = cached(entity(metered(), credit()), confirmed_at=time.monotonic() - age_seconds)
    await Tiers(a_memory(), tier).store(CUSTOMER, stored)

    found = await Tiers(a_memory(), tier).find(CUSTOMER)

    assert found is not None
    assert found.cached.entity == stored.entity
    assert found.source is Source.REDIS
    assert stored.confirmed_at == pytest.approx(found.cached.confirmed_at, abs=0.5 * age_seconds)


async def test_usage_that_one_process_moved_another_finds(tier: RedisTier) -> None:
    one, other = Tiers(a_memory(), tier), Tiers(a_memory(), tier)
    await one.store(CUSTOMER, cached(entity(credit(current=3))))

    moved = await other.apply_usage(
        CUSTOMER, UsageUpdate(currency_id="tokens", current=5, updated_at_ms=NOW_MS + 1)
    )
    found = await other.find(CUSTOMER)

    assert moved
    assert found is not None
    assert entity(credit(current=5, usage_at_ms=NOW_MS + 1)) == found.cached.entity


async def test_what_is_in_memory_is_not_asked_of_the_shared_tier(shared: ScriptedShared) -> None:
    tiers = Tiers(a_memory(), shared)
    await tiers.store(CUSTOMER, cached(entity(metered())))

    found = await tiers.find(CUSTOMER)

    assert found == _found(cached(entity(metered())), Source.MEMORY)
    assert shared.reads == 0


async def test_a_find_in_the_shared_tier_fills_memory(shared: ScriptedShared) -> None:
    shared.held[CUSTOMER] = cached(entity(metered()))
    tiers = Tiers(a_memory(), shared)

    first, second = await tiers.find(CUSTOMER), await tiers.find(CUSTOMER)

    expected = cached(entity(metered()))
    assert first == _found(expected, Source.REDIS)
    assert second == _found(expected, Source.MEMORY)


async def test_what_the_shared_tier_holds_is_as_confirmed_as_the_caller_vouches(
    shared: ScriptedShared,
) -> None:
    shared.held[CUSTOMER] = cached(entity(metered()), confirmed_at=40.0)
    tiers = Tiers(a_memory(), shared, vouch=lambda confirmed_at: confirmed_at + 2)

    found = await tiers.find(CUSTOMER)

    expected = replace(cached(entity(metered()), confirmed_at=42.0), known_at=40.0)
    assert found == _found(expected, Source.REDIS)


async def test_searches_of_one_entity_at_a_time_are_one_read(shared: ScriptedShared) -> None:
    shared.held[CUSTOMER] = cached(entity(metered()))
    tiers = Tiers(a_memory(), shared)

    found = await asyncio.gather(*(tiers.find(CUSTOMER) for _ in range(20)))

    assert found == [_found(cached(entity(metered())), Source.REDIS)] * 20
    assert shared.reads == 1


async def test_usage_received_during_a_read_of_the_shared_tier_keeps_it_out_of_memory(
    shared: ScriptedShared,
) -> None:
    """The read may be older than the usage, which found nothing in memory to move."""
    shared.held[CUSTOMER] = cached(entity(metered(current=3)))
    tiers = Tiers(a_memory(), shared)
    reader = asyncio.create_task(tiers.find(CUSTOMER))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    await tiers.apply_usage(CUSTOMER, usage_update(), only_here=True)
    found = await reader

    assert found == _found(cached(entity(metered(current=3))), Source.REDIS)
    assert tiers.get(CUSTOMER) is None


async def test_an_estimate_is_not_written_for_others(shared: ScriptedShared) -> None:
    tiers = Tiers(a_memory(), shared)
    await tiers.store(CUSTOMER, cached(entity(metered())))

    await tiers.apply_usage(CUSTOMER, usage_update(), only_here=True)

    assert {CUSTOMER: cached(entity(metered()))} == shared.held
    assert [] == shared.moves


async def test_what_is_in_doubt_is_kept_from_others(shared: ScriptedShared) -> None:
    tiers = Tiers(a_memory(), shared)

    await tiers.store(CUSTOMER, cached(entity(metered()), confirmed_at=NEVER))

    assert {} == shared.held
    assert cached(entity(metered()), confirmed_at=NEVER) == tiers.get(CUSTOMER)


async def test_a_miss_in_every_tier_is_a_miss(shared: ScriptedShared) -> None:
    tiers = Tiers(a_memory(), shared)

    assert await tiers.find(CUSTOMER) is None


async def test_what_was_stored_during_a_read_of_the_shared_tier_is_not_replaced(
    shared: ScriptedShared,
) -> None:
    """A slow read must not put back what an event has replaced meanwhile."""
    memory = a_memory()
    tiers = Tiers(memory, shared)
    shared.held[CUSTOMER] = cached(entity(metered(), at_ms=NOW_MS))
    newer = cached(entity(credit(), at_ms=NOW_MS - 1), confirmed_at=200)
    shared.meanwhile = lambda: memory.update(CUSTOMER, lambda _: newer)

    found = await tiers.find(CUSTOMER)

    assert found == _found(newer, Source.REDIS)
    assert newer == tiers.get(CUSTOMER)


async def test_what_was_dropped_during_a_read_of_the_shared_tier_does_not_come_back(
    shared: ScriptedShared,
) -> None:
    tiers = Tiers(a_memory(), shared)
    shared.held[CUSTOMER] = cached(entity(metered()))
    reader = asyncio.create_task(tiers.find(CUSTOMER))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    await tiers.drop(CUSTOMER)
    await reader

    assert tiers.get(CUSTOMER) is None


async def test_a_write_goes_through_merged(shared: ScriptedShared) -> None:
    """The shared tier gets what is held from now on, with the newest usage."""
    tiers = Tiers(a_memory(), shared)
    await tiers.store(CUSTOMER, cached(entity(metered(current=5, usage_at_ms=NOW_MS + 1))))

    await tiers.store(CUSTOMER, cached(entity(metered(current=3), at_ms=NOW_MS + 2)))

    expected = entity(metered(current=5, usage_at_ms=NOW_MS + 1), at_ms=NOW_MS + 2)
    assert {CUSTOMER: cached(expected)} == shared.held


@pytest.mark.parametrize(
    ("outcome", "has_moved"),
    [(Shared.TAKEN, True), (Shared.OVERTAKEN, False), (Shared.MISSING, False)],
)
async def test_usage_moves_in_the_shared_tier_also_when_memory_does_not_hold_it(
    shared: ScriptedShared, outcome: Shared, has_moved: bool
) -> None:
    shared.outcome = outcome
    tiers = Tiers(a_memory(), shared)

    moved = await tiers.apply_usage(CUSTOMER, usage_update())

    assert has_moved == moved
    assert [usage_update()] == shared.moves


async def test_usage_that_moved_in_memory_alone_has_moved(shared: ScriptedShared) -> None:
    tiers = Tiers(a_memory(), shared)
    await tiers.store(CUSTOMER, cached(entity(metered())))

    assert await tiers.apply_usage(CUSTOMER, usage_update())


async def test_a_drop_reaches_every_tier(shared: ScriptedShared) -> None:
    tiers = Tiers(a_memory(), shared)
    await tiers.store(CUSTOMER, cached(entity(metered())))

    await tiers.drop(CUSTOMER)

    assert shared.held == {}
    assert tiers.get(CUSTOMER) is None


async def test_what_another_process_shared_is_noted_as_its(shared: ScriptedShared) -> None:
    """In the history; and usage that comes from there with the next look."""
    noted: list[tuple[object, object, Origin]] = []
    memory = a_memory()
    tiers = Tiers(memory, shared, history=NotedHistory(noted))
    shared.held[CUSTOMER] = cached(entity(metered(current=3)))
    await tiers.find(CUSTOMER)

    assert [(None, entity(metered(current=3)), Origin.REDIS)] == noted


class NotedHistory(NoHistory):
    """A history that only notes."""

    def __init__(self, noted: list[tuple[object, object, Origin]]) -> None:
        self._noted = noted

    def note(self, *reported: object) -> None:
        _, before, after, origin = reported
        assert isinstance(origin, Origin)
        self._noted.append((before, after, origin))


async def test_what_is_named_is_looked_at_again_once(shared: ScriptedShared) -> None:
    tiers = Tiers(a_memory(), shared)
    await tiers.store(CUSTOMER, cached(entity(metered(current=3))))
    shared.held[CUSTOMER] = cached(entity(metered(current=5, usage_at_ms=NOW_MS + 1)))

    tiers.name(CUSTOMER)
    named = tiers.get(CUSTOMER)
    await tiers.find_shared(CUSTOMER)
    looked_at = tiers.get(CUSTOMER)

    assert named is not None
    assert looked_at is not None
    assert named.is_named
    assert not looked_at.is_named
    assert entity(metered(current=5, usage_at_ms=NOW_MS + 1)) == looked_at.entity


async def test_what_is_named_while_it_is_read_is_looked_at_once_more(shared: ScriptedShared) -> None:
    """The read may be older than what was named."""
    tiers = Tiers(a_memory(), shared)
    shared.held[CUSTOMER] = cached(entity(metered()))
    shared.meanwhile = lambda: tiers.name(CUSTOMER)

    held_before = tiers.holds(CUSTOMER)
    reader = asyncio.create_task(tiers.find(CUSTOMER))
    await asyncio.sleep(0)
    held_while_it_is_read = tiers.holds(CUSTOMER)
    await reader

    held = tiers.get(CUSTOMER)
    assert held is not None
    assert held.is_named
    assert not held_before
    assert held_while_it_is_read


async def test_what_is_not_held_is_not_named(shared: ScriptedShared) -> None:
    tiers = Tiers(a_memory(), shared)

    tiers.name(CUSTOMER)

    assert tiers.get(CUSTOMER) is None


@pytest.mark.parametrize(
    ("outcome", "is_named", "is_missing"),
    [(Shared.TAKEN, False, False), (Shared.OVERTAKEN, True, False), (Shared.MISSING, False, True)],
)
@pytest.mark.parametrize("is_usage", [True, False])
async def test_what_the_shared_tier_made_of_a_write_is_known(
    shared: ScriptedShared, outcome: Shared, is_named: bool, is_missing: bool, is_usage: bool
) -> None:
    """Where it knows something newer that is looked at; where it has nothing, nobody names its changes."""
    tiers = Tiers(a_memory(), shared)
    shared.stored = shared.outcome = outcome
    if is_usage:
        shared.stored = Shared.TAKEN
    await tiers.store(CUSTOMER, cached(entity(metered())))
    if is_usage:
        await tiers.apply_usage(CUSTOMER, usage_update())

    held = tiers.get(CUSTOMER)

    assert held is not None
    assert is_named == held.is_named
    assert is_missing == held.is_missing


async def test_what_was_removed_from_the_shared_tier_is_missing_there(shared: ScriptedShared) -> None:
    tiers = Tiers(a_memory(), shared)
    await tiers.store(CUSTOMER, cached(entity(metered())))
    del shared.held[CUSTOMER]
    tiers.name(CUSTOMER)

    found = await tiers.find_shared(CUSTOMER)

    held = tiers.get(CUSTOMER)
    assert found is None
    assert held is not None
    assert not held.is_named
    assert held.is_missing


async def test_an_answer_of_the_cloud_that_was_asked_since_needs_no_look(shared: ScriptedShared) -> None:
    now = 500.0
    tiers = Tiers(a_memory(), shared, monotonic=lambda: now)
    await tiers.store(CUSTOMER, cached(entity(metered()), confirmed_at=400))
    now = 501.0
    tiers.name(CUSTOMER)

    before = await tiers.store(CUSTOMER, cached(entity(metered()), confirmed_at=NEVER))
    since = await tiers.store(CUSTOMER, cached(entity(metered()), confirmed_at=502))

    assert before.is_named
    assert not since.is_named


async def test_resources_that_are_held_are_known_of_their_customer() -> None:
    tiers = Tiers(a_memory())
    await tiers.store(EntityKey("a", "b"), cached(entity(metered())))

    assert tiers.holds_resources_of("a")
    assert not tiers.holds_resources_of("b")
