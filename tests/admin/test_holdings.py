"""Pages of what the tiers hold."""

import time
from itertools import count

import pytest

from entitlements.admin import holdings
from entitlements.admin.holdings import (
    ROWS,
    held_in_memory,
    key_from_text,
    key_text,
    listed_in_memory,
    listed_in_redis,
)
from entitlements.cache.memory import MemoryTier
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity, EntityKey
from tests.builders import a_boolean_feature, an_entity
from tests.redis.parts import ShiftedClock, a_connection, a_tier
from tests.redis_server import RedisServer

MANY = 50_000


def a_memory(*keys: EntityKey, entity: Entity | None = None) -> MemoryTier:
    memory = MemoryTier(max_size_bytes=1 << 40)
    cached = CachedEntity(entity=entity or an_entity(a_boolean_feature()), confirmed_at=0.0)
    for key in keys:
        memory.update(key, lambda _: cached)
    return memory


def test_pages_follow_each_other_and_leave_nothing_out() -> None:
    keys = [EntityKey(f"customer-{n}") for n in range(2 * ROWS + 7)]
    memory = a_memory(*keys)
    seen: list[EntityKey] = []
    after = None
    pages = 0
    while True:
        listing = listed_in_memory(memory, search="", after=after)
        seen += listing.keys
        pages += 1
        if listing.following is None:
            break
        after = key_from_text(listing.following)

    assert list(reversed(keys)) == seen
    assert 3 == pages


def test_an_id_itself_comes_before_those_that_hold_it() -> None:
    memory = a_memory(
        EntityKey("a"), EntityKey("ba"), EntityKey("b", "resource-a"), EntityKey("c"), EntityKey("ca")
    )

    assert [EntityKey("a"), EntityKey("ca"), EntityKey("b", "resource-a"), EntityKey("ba")] == list(
        listed_in_memory(memory, search="a", after=None).keys
    )


def test_a_search_does_not_mind_the_case() -> None:
    memory = a_memory(EntityKey("ACME-Über"), EntityKey("b", "Acme-1"), EntityKey("other"))

    assert [EntityKey("b", "Acme-1"), EntityKey("ACME-Über")] == list(
        listed_in_memory(memory, search="aCMe", after=None).keys
    )
    assert [EntityKey("ACME-Über")] == list(listed_in_memory(memory, search="üBER", after=None).keys)


def test_a_place_that_is_gone_ends_the_list() -> None:
    memory = a_memory(EntityKey("a"))

    assert ([], None, True) == listed_in_memory(memory, search="", after=EntityKey("gone"))


def test_all_of_many_are_listed_and_searched_at_once() -> None:
    """All the way through memory, for an id that is not there, is a small part of what it took to fill it."""
    began = time.process_time()
    memory = a_memory(*(EntityKey(f"customer-{n}") for n in range(MANY)))
    filled = time.process_time()
    listing = listed_in_memory(memory, search="nobody", after=None)
    searched = time.process_time()

    assert [] == list(listing.keys)
    assert listing.following is None
    assert searched - filled < (filled - began) / 3
    assert [EntityKey("customer-7")] == [
        each.key for each in held_in_memory(memory, [EntityKey("customer-7"), EntityKey("nobody")])
    ]


def test_one_page_looks_at_no_more_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdings, "MAX_LOOKED_AT", 10)
    memory = a_memory(*(EntityKey(f"customer-{n}") for n in range(30)))
    first = listed_in_memory(memory, search="customer-5", after=None)
    assert first.following is not None
    second = listed_in_memory(memory, search="customer-1", after=key_from_text(first.following))

    assert [EntityKey("customer-5")] == list(first.keys)
    assert 10 == len(second.keys)


@pytest.mark.parametrize(
    "key", [EntityKey("a"), EntityKey("a:b", "c:d"), EntityKey("3:x", ""), EntityKey("\n\x00é", "..")]
)
def test_a_key_survives_a_form(key: EntityKey) -> None:
    assert key == key_from_text(key_text(key))


@pytest.mark.parametrize("text", ["", "a", "1:", "5:abc", "1:ab", "-1:a", "9999999:a", "0:", "²:ab"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^.?"):
        key_from_text(text)


async def test_redis_is_reported_page_by_page() -> None:
    """Every key is listed; a search takes signs of a pattern as they are; no Redis, no keys."""
    clock = ShiftedClock()
    with RedisServer() as server:
        connection = a_connection(server.url, clock=clock)
        tier = a_tier(connection, clock=clock)
        keys = [EntityKey(f"customer-{n}*") for n in range(120)]
        cached = CachedEntity(entity=an_entity(a_boolean_feature()), confirmed_at=clock.monotonic())
        for key in keys:
            await tier.store(key, cached)
        seen: list[EntityKey] = []
        cursor: str | None = "0"
        while cursor is not None:
            page = await listed_in_redis(tier, search="", cursor=int(cursor), monotonic=clock.monotonic)
            seen += page.keys
            cursor = page.following
        found = await listed_in_redis(tier, search="MER-77*", cursor=0, monotonic=clock.monotonic)
        exact = await listed_in_redis(tier, search="customer-7*", cursor=0, monotonic=clock.monotonic)
        sizes = await tier.sizes_of([keys[0], EntityKey("nobody")])
        asked = server.command("INFO", "commandstats")
        server.stop()
        lost = await listed_in_redis(tier, search="", cursor=0, monotonic=clock.monotonic)
        unknown = await tier.sizes_of(keys[:2])
        connection.stop()

    assert set(keys) == set(seen)
    assert [EntityKey("customer-77*")] == list(found.keys)
    assert EntityKey("customer-7*") == exact.keys[0]
    assert sizes[0]
    assert 0 == sizes[1]
    assert not lost.is_answered
    assert [None, None] == list(unknown)
    assert "cmdstat_keys" not in str(asked)


async def test_a_page_asks_redis_for_no_longer_than_its_bound() -> None:
    """A search that finds nothing among many stops in time, and the next page goes on there."""
    clock = ShiftedClock()
    ticks = count(step=holdings.SCAN_SECONDS / 2)
    with RedisServer() as server:
        connection = a_connection(server.url, clock=clock)
        tier = a_tier(connection, clock=clock)
        await tier.store(EntityKey("one"), CachedEntity(entity=an_entity(), confirmed_at=clock.monotonic()))
        (name,) = [each for each in server.texts() if each.endswith("c_one")]
        fill = f"for i=1,5000 do redis.call('SET','{name}'..i,'{{}}') end"
        server.command("EVAL", fill, 0)
        page = await listed_in_redis(tier, search="nobody", cursor=0, monotonic=lambda: float(next(ticks)))
        connection.stop()

    assert [] == list(page.keys)
    assert page.following is not None
