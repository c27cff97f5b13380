"""Fallback rules are one truth for the pods of one Redis, each with a database of its own."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator.server import Emulator
from tests.eventually import MOST_SECONDS
from tests.harness import Client, check, client_of, environment_for, running_sidecar
from tests.management.command_runs import run
from tests.redis_server import RedisServer


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def _both_say(clients: tuple[Client, Client], *, granted: bool) -> None:
    for client in clients:
        async with asyncio.timeout(MOST_SECONDS):
            while (await check(client, "c")).has_access is not granted:  # noqa: ASYNC110 - gRPC announces no events
                await asyncio.sleep(0.01)


async def test_a_rule_that_is_changed_at_one_pod_answers_at_the_other(
    emulator: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """Under a key that is none of the vendor's; also after Redis was emptied."""
    emulator.faults.set("edge", "down")
    emulator.faults.set("graphql", "down")
    variables = {"REDIS_ENVIRONMENT_PREFIX": "production", "REDIS_PORT": str(redis.port)}
    environment, rules = environment_for(emulator, tmp_path, **variables), tmp_path / "rules.json"
    names: set[str] = set()
    async with (
        running_sidecar(emulator, tmp_path, **variables) as one,
        running_sidecar(emulator, tmp_path / "other", **variables) as other,
        client_of(one) as client,
        client_of(other) as other_client,
    ):
        await _both_say((client, other_client), granted=False)
        for granted in (True, False):
            rules.write_text(json.dumps({"f": {"hasAccess": granted}}))
            assert 0 == (await run(environment, "fallbacks", "import", str(rules))).code
            await _both_say((client, other_client), granted=granted)
            names |= {name.decode() for name in redis.command("KEYS", "*fallback*")}
            redis.command("FLUSHALL")

    assert names == {"production:sidecar:fallback-rules"}
