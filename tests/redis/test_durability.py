"""What a restart or a full memory would take from an outbox in Redis is known before."""

from pathlib import Path

import pytest

from entitlements.redis.connection import UNAVAILABLE
from entitlements.redis.durability import Durability
from entitlements.redis.examination import examine
from tests.redis.parts import KEYS, a_connection, stopping
from tests.redis_server import RedisServer


async def found(redis: RedisServer, *rules: str) -> Durability:
    redis.command("ACL", "SETUSER", "us", "reset", "on", ">pw", "~*", "&*", "+@all", *rules)
    with stopping(a_connection(redis.url, username="us", password="pw")) as connection:
        while True:  # on a busy machine it takes longer than a call may
            found = await connection.run(lambda client: examine(client, KEYS, has_outbox=True))
            if found is not UNAVAILABLE:
                assert found.durability is not None
                return found.durability


@pytest.mark.parametrize(
    ("save", "policy", "reported"),
    [
        ("", "noeviction", ["a restart of it loses all"]),
        ("3600 1", "volatile-lru", ["a crash of it loses what came to the outbox since it last saved"]),
        ("", "allkeys-lru", ["a restart of it loses all", "maxmemory-policy is allkeys-lru"]),
        ("3600 1", "allkeys-random", ["a crash of it loses", "maxmemory-policy is allkeys-random"]),
    ],
)
async def test_what_would_be_lost_is_reported(
    own_redis: RedisServer, save: str, policy: str, reported: list[str]
) -> None:
    own_redis.command("CONFIG", "SET", "save", save)
    own_redis.command("CONFIG", "SET", "maxmemory-policy", policy)

    durability = await found(own_redis)

    assert Durability(appendonly=False, saves=bool(save), maxmemory_policy=policy) == durability
    assert len(reported) == len(durability.sentences)
    assert all(part in sentence for part, sentence in zip(reported, durability.sentences, strict=True))


async def test_a_redis_that_keeps_it_is_no_risk(tmp_path: Path) -> None:
    with RedisServer("--appendonly", "yes", "--dir", str(tmp_path)) as redis:
        durability = await found(redis)

    assert Durability(appendonly=True, saves=False, maxmemory_policy="noeviction") == durability
    assert [] == durability.sentences


async def test_what_may_not_be_asked_is_not_answered(redis: RedisServer) -> None:
    """CONFIG is refused by managed ones; INFO by few."""
    assert Durability(appendonly=False, saves=None, maxmemory_policy="noeviction") == await found(
        redis, "-config"
    )
    nothing = await found(redis, "-config", "-info")
    assert Durability() == nothing
    assert [] == nothing.sentences
