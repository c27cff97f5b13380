"""Anything may stand at our keys: it is a miss, costs nobody an answer, and gives way to what is written."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from entitlements.cache.tiers import Miss
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate
from entitlements.redis import address, patience
from tests.builders import an_entity
from tests.cache.samples import NOW_MS, credit, metered
from tests.chaos.hostile import SCALE, SEED, spoiled_text, tries
from tests.chaos.test_targets import REDIS
from tests.redis.parts import KEYS, a_connection, a_tier, put
from tests.redis_server import RedisServer

CUSTOMER, RESOURCE = EntityKey("a"), EntityKey("a", "b")
ANOTHER = EntityKey("z")
ENTITY = an_entity(metered("m"), credit("c"), updated_at_ms=NOW_MS)
MEGABYTE = 1024 * 1024
PATIENT_SECONDS = 5.0
"""What is at stake is junk: a busy computer is not to look like it."""
NAMES = [
    *(KEYS.entity(key) for key in (CUSTOMER, RESOURCE)),
    *(KEYS.metadata(key) for key in (CUSTOMER, RESOURCE)),
    *(KEYS.feature_usage(key, "m") for key in (CUSTOMER, RESOURCE)),
    KEYS.credit_usage(RESOURCE, "c"),
]
EVERY_NAME = [*NAMES, *(f"{name}#timestamp" for name in NAMES)]
values = (
    spoiled_text(REDIS)
    | spoiled_text({"currentUsage": 1, "usagePeriodStart": 1, "usagePeriodEnd": 2})
    | spoiled_text({"accessDeniedReason": "Revoked", "customerTimestamp": 5})
    | st.binary(max_size=20)
    | st.integers(-(10**20), 10**20).map(lambda number: b"%d" % number)
)
OTHERS: tuple[tuple[str, ...], ...] = (
    ("LPUSH", "x"),
    ("SADD", "x"),
    ("HSET", "f", "x"),
    ("XADD", "*", "f", "x"),
)
places = st.dictionaries(
    st.sampled_from(EVERY_NAME), values | st.sampled_from(OTHERS), min_size=1, max_size=4
)


def _place(server: RedisServer, name: str, value: Any) -> None:
    server.command("DEL", name)
    if isinstance(value, bytes):
        server.command("SET", name, value)
    else:
        server.command(value[0], name, *value[1:])


@pytest.mark.timeout(120 + 60 * SCALE)
def test_junk_is_a_miss_and_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spoiled documents, other types and numbers at any of our names, in any combination."""
    monkeypatch.setattr(patience, "LEAST_SECONDS", PATIENT_SECONDS)
    monkeypatch.setattr(patience, "MOST_SECONDS", PATIENT_SECONDS)
    monkeypatch.setattr(address, "SOCKET_SECONDS", PATIENT_SECONDS)
    loop = asyncio.new_event_loop()
    with RedisServer() as server:
        redis = a_connection(server.url)
        tier = a_tier(redis)

        async def hurt(junk: dict[str, Any]) -> None:
            server.command("FLUSHALL")
            for key in (CUSTOMER, RESOURCE):
                await put(tier, key, ENTITY)
            for name, value in junk.items():
                _place(server, name, value)
            for key in (CUSTOMER, RESOURCE):
                found = await tier.get(key)
                assert isinstance(found, CachedEntity | Miss)
                assert found is not Miss.UNAVAILABLE
            await tier.apply_usage(RESOURCE, UsageUpdate(feature_id="m", current=9, updated_at_ms=NOW_MS + 1))
            await tier.page_of_keys(0)
            newer = an_entity(
                metered("m", usage_at_ms=10**14), credit("c", usage_at_ms=10**14), updated_at_ms=10**14
            )
            for key in (CUSTOMER, RESOURCE):
                await put(tier, key, newer)
                await tier.get(key)  # a timestamp that is junk is seen, and does not stand in the way again
                await put(tier, key, newer)
            for key in (CUSTOMER, RESOURCE):
                _is_healed(await tier.get(key))

        @seed(SEED)
        @tries(60)
        @given(places)
        def run(junk: dict[str, Any]) -> None:
            loop.run_until_complete(hurt(junk))

        try:
            run()
        finally:
            redis.stop()
            loop.close()


def _is_healed(found: CachedEntity | Miss) -> None:
    assert isinstance(found, CachedEntity), found
    entity: Entity = found.entity
    assert {"m"} == set(entity.features)
    assert {"c"} == set(entity.credits)


async def test_a_huge_value_costs_no_more_than_a_miss() -> None:
    """Sixty megabytes at an entity's name: read or not, the next reader is served in time."""
    with RedisServer() as server:
        redis = a_connection(server.url)
        try:
            tier = a_tier(redis)
            await put(tier, CUSTOMER, ENTITY)
            await put(tier, ANOTHER, ENTITY)
            server.command("SET", KEYS.entity(CUSTOMER), b"[" * (60 * MEGABYTE))
            async with asyncio.timeout(5):
                assert isinstance(await tier.get(CUSTOMER), Miss)
            async with asyncio.timeout(20):
                while not isinstance(await tier.get(ANOTHER), CachedEntity):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        finally:
            redis.stop()
