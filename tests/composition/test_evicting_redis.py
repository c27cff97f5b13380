"""A Redis whose memory is full gives up keys: that is no news, and nobody waits for the cloud for it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from emulator.server import Emulator
from entitlements.composition import Sidecar, build
from entitlements.config import load
from entitlements.domain.decision import Query
from entitlements.domain.entity import EntityKey
from entitlements.domain.membership import LeaderState, LeaseStatus
from entitlements.domain.ports import Source
from entitlements.redis.address import RedisAddress, cache_settings
from tests.cloud_states import boolean_state
from tests.eventually import eventually
from tests.harness import environment_for
from tests.redis_server import RedisServer

CUSTOMER = EntityKey("customer-1")
NAME = "p:c_customer-1"
KEYS = (NAME, f"{NAME}#timestamp", f"{NAME}:metadata", f"{NAME}:metadata#timestamp")
ROOM_BYTES = 65_536


@pytest.fixture
def redis(settings: Any, request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """One that may evict; by parameter one that has all the room."""
    with RedisServer(
        "--maxmemory-policy", "allkeys-lru", "--maxmemory", getattr(request, "param", "100mb")
    ) as redis:
        address = RedisAddress(host="127.0.0.1", port=redis.port)
        settings.REDIS_ADDRESS = address
        settings.CACHES = {**settings.CACHES, "redis": cache_settings(address)}
        yield redis


@pytest.fixture
async def follower(redis: RedisServer, emulator: Emulator, tmp_path: Path) -> AsyncIterator[Sidecar]:
    """It holds a customer; another leads, and says that it misses nothing."""
    emulator.state.put(CUSTOMER.customer_id, boolean_state(), push=False)
    variables = {
        "REDIS_ENVIRONMENT_PREFIX": "p",
        "REDIS_PORT": str(redis.port),
        "SIDECAR_OUTBOX": "off",
    }
    built = build(load(environment_for(emulator, tmp_path, **variables)).config)
    assert built.redis is not None
    assert built.invalidation is not None
    async with built.redis.running(built.background, built.invalidation):
        await eventually(lambda: built.feed_trust.membership.is_tracking)
        leader = LeaderState(token="one", epoch=1.0, complete_since=0.0, renewed_at=1e12)
        built.feed_trust.move(lambda member, now: member.leased(LeaseStatus.OTHERS, now=now, leader=leader))
        assert (True, False) == await asked(built)
        assert (True, True) == await asked(built)
        yield built
        await built.background.stop()
        await built.fetcher.stop()
    await built.http_client.aclose()


async def asked(sidecar: Sidecar) -> tuple[bool, bool]:
    """Whether it is granted, and by memory."""
    answer = await sidecar.reader.check(Query(key=CUSTOMER, feature_id="f"))
    return answer.decision.has_access, answer.provenance.source is Source.MEMORY


def is_named(sidecar: Sidecar) -> bool:
    held = sidecar.memory.peek(CUSTOMER)
    return held is not None and held.is_named


def fill(redis: RedisServer, *, until: Callable[[Redis], object]) -> None:
    """Fills its memory with keys so small that one other gives way for each, until that is so."""
    with closing(Redis(port=redis.port)) as client:
        used: Any = client.info("memory")
        client.config_set("maxmemory", used["used_memory"] + ROOM_BYTES)
        for number in range(100_000):
            client.set(f"p:filling:{number}", "x")
            if until(client):
                return
    raise AssertionError("nothing was evicted")


def has_evicted(client: Redis) -> bool:
    stats: Any = client.info("stats")
    return bool(stats["evicted_keys"])


async def test_what_was_evicted_is_answered_from_memory(
    follower: Sidecar, redis: RedisServer, emulator: Emulator
) -> None:
    """It was confirmed, and what changes is announced otherwise; by its age it is checked again."""
    fill(redis, until=lambda client: not client.exists(NAME, f"{NAME}#timestamp"))
    await eventually(lambda: is_named(follower))

    answers = [await asked(follower), await asked(follower)]
    held = follower.memory.peek(CUSTOMER)

    assert [(True, True)] * 2 == answers
    assert 1 == emulator.counters.fetches(CUSTOMER.customer_id)
    assert held is not None
    assert held.is_missing


@pytest.mark.parametrize(
    ("redis", "names"),
    [("100mb", KEYS), ("100mb", KEYS[:2]), ("0", KEYS), ("0", KEYS[:1])],
    ids=["purged", "with its stamp", "purged where nothing is evicted", "alone where nothing is evicted"],
    indirect=["redis"],
)
async def test_what_somebody_removed_is_asked_of_the_cloud_first(
    follower: Sidecar, redis: RedisServer, emulator: Emulator, names: tuple[str, ...]
) -> None:
    redis.command("DEL", *names)
    await eventually(lambda: is_named(follower))

    assert (True, False) == await asked(follower)
    assert 2 == emulator.counters.fetches(CUSTOMER.customer_id)


async def test_where_keys_are_evicted_too_a_purge_is_still_one(
    follower: Sidecar, redis: RedisServer, emulator: Emulator
) -> None:
    """Who means it removes a key with its timestamp; a Redis that is full gives up one key at a time."""
    fill(redis, until=lambda client: client.mget(KEYS) and has_evicted(client))
    redis.command("DEL", *KEYS)
    await eventually(lambda: is_named(follower))

    assert (True, False) == await asked(follower)
