"""An override on every process of a deployment: begun and ended within a second, for no moment longer."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from emulator.server import Emulator
from tests.cloud_states import boolean_state
from tests.eventually import MOST_SECONDS, eventually
from tests.harness import Client, check, client_of, environment_for, running_sidecar, spawned
from tests.management.command_runs import run
from tests.redis_server import RedisServer

WITHIN_SECONDS = 1.0
WITHIN_ROUNDS = 20
"""On a busy machine that second is as long as it takes to ask everybody so often."""
CONNECTIONS = 12
"""So many that each of two workers has some: the kernel spreads them."""
LASTS_SECONDS = 5


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def _variables(redis: RedisServer) -> dict[str, str]:
    return {
        "SIDECAR_OVERRIDES": "1",
        "REDIS_ENVIRONMENT_PREFIX": "production",
        "REDIS_PORT": str(redis.port),
    }


@asynccontextmanager
async def _two_workers(emulator: Emulator, redis: RedisServer, folder: Path) -> AsyncIterator[list[Client]]:
    environment = environment_for(emulator, folder, **_variables(redis))
    async with spawned(environment, "--workers=2") as sidecar, AsyncExitStack() as stack:
        await sidecar.started()
        await eventually(lambda: sidecar.output.count("listening: ") == 2)
        yield [await stack.enter_async_context(client_of(sidecar)) for _ in range(CONNECTIONS)]


@asynccontextmanager
async def _two_pods(emulator: Emulator, redis: RedisServer, folder: Path) -> AsyncIterator[list[Client]]:
    """Each with a database of its own; commands run beside the first."""
    async with (
        running_sidecar(emulator, folder, **_variables(redis)) as one,
        running_sidecar(emulator, folder / "other", **_variables(redis)) as other,
        client_of(one) as client,
        client_of(other) as other_client,
    ):
        yield [client, other_client]


async def _all_say(clients: Sequence[Client], *, granted: bool, until: float) -> float:
    """When the last of them said so (monotonic seconds); fails where one does not by then."""
    last = 0.0
    for client in clients:
        while (await check(client, "c")).has_access is not granted:
            assert time.monotonic() < until, f"not {granted} on every process in time"
            await asyncio.sleep(0.01)
        last = time.monotonic()
    return last


@pytest.mark.parametrize("deployment", [_two_workers, _two_pods])
async def test_it_begins_and_ends_on_every_process_within_a_second(
    deployment: object, emulator: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """By itself: nobody ends it. It is no key of the vendor's; a Redis that is emptied prolongs nothing."""
    assert callable(deployment)
    emulator.state.put("c", boolean_state(feature_id="g"), push=False)
    environment = environment_for(emulator, tmp_path, **_variables(redis))
    async with deployment(emulator, redis, tmp_path) as clients:
        await _all_say(clients, granted=False, until=time.monotonic() + MOST_SECONDS)
        asked_at = time.monotonic()
        answered_at = await _all_say(clients, granted=False, until=asked_at + MOST_SECONDS)
        within_seconds = max(WITHIN_SECONDS, WITHIN_ROUNDS * (answered_at - asked_at))
        words = ("override", "grant", "c", "f", "--for", f"{LASTS_SECONDS}s", "--reason", "r")
        done = asyncio.create_task(run(environment, *words))
        while not (await check(clients[0], "c")).has_access:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        seen_at = time.monotonic()
        began_at = await _all_say(clients, granted=True, until=seen_at + within_seconds)
        names = {name.decode() for name in redis.command("KEYS", "*overrides*")}
        redis.command("FLUSHALL")
        ends_by = seen_at + LASTS_SECONDS + within_seconds
        ended_at = await _all_say(clients, granted=False, until=ends_by)
        assert 0 == (await done).code

    assert names == {"production:sidecar:overrides"}
    assert began_at - seen_at <= within_seconds
    assert ended_at <= ends_by
