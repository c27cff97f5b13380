"""The tiers as one store: memory alone, and before a shared tier."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from entitlements.cache.memory import MemoryTier
from entitlements.cache.redis import RedisTier
from entitlements.cache.tiers import Miss, Tiers
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
        self.answers_usage = False
        self.meanwhile: Callable[[], object] = lambda: None
        self.reads = 0

    async def get(self, key: EntityKey) -> CachedEntity | Miss:
        self.reads += 1
        found: CachedEntity | Miss = self.held.get(key, Miss.ABSENT)
        await asyncio.sleep(0)
        self.meanwhile()
        return found

    async def store(self, key: EntityKey, cached: CachedEntity, *, claim: FetchClaim | None = None) -> None:
        self.held[key] = cached

    async def apply_usage(self, key: EntityKey, update: UsageUpdate) -> bool:
        self.moves.append(update)
        return self.answers_usage

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
    stored = cached(entity(metered(), credit()), confirmed_at=time.monotonic() - 5)
    await Tiers(a_memory(), tier).store(CUSTOMER, stored)

    found = await Tiers(a_memory(), tier).find(CUSTOMER)

    assert found is not None
    assert found.cached.entity == stored.entity
    assert found.source is Source.REDIS
    assert stored.confirmed_at == pytest.approx(found.cached.confirmed_at, abs=0.5)


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

    await tiers.apply_usage(CUSTOMER, usage_update(), already_shared=True)
    found = await reader

    assert found == _found(cached(entity(metered(current=3))), Source.REDIS)
    assert tiers.get(CUSTOMER) is None


async def test_what_another_process_shared_is_not_written_again(shared: ScriptedShared) -> None:
    tiers = Tiers(a_memory(), shared)
    shared.held[CUSTOMER] = cached(entity(credit()))

    await tiers.store(CUSTOMER, cached(entity(metered())), already_shared=True)
    await tiers.apply_usage(CUSTOMER, usage_update(), already_shared=True)
    await tiers.drop(CUSTOMER, already_shared=True)

    assert {CUSTOMER: cached(entity(credit()))} == shared.held
    assert [] == shared.moves
    assert tiers.get(CUSTOMER) is None


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


@pytest.mark.parametrize("moved_there", [True, False])
async def test_usage_moves_in_the_shared_tier_also_when_memory_does_not_hold_it(
    shared: ScriptedShared, moved_there: bool
) -> None:
    shared.answers_usage = moved_there
    tiers = Tiers(a_memory(), shared)

    moved = await tiers.apply_usage(CUSTOMER, usage_update())

    assert moved_there == moved
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
