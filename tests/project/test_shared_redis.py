"""Several processes and one Redis, all real: what one learns all know, and a restart forgets nothing."""

import asyncio
import contextlib
import json
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from emulator.server import Emulator
from entitlements.redis.lease import LEASE_SECONDS, RENEW_SECONDS
from entitlements.redis.patience import LEAST_SECONDS, MOST_SECONDS
from entitlements.service.fetcher import TURN_SECONDS
from grpc_service.generated import sidecar_pb2 as pb
from tests.chaos.proxy import TcpProxy
from tests.cloud_states import boolean_state, metered_state
from tests.eventually import eventually
from tests.harness import (
    Client,
    SidecarProcess,
    check,
    client_of,
    is_granted,
    running_sidecar,
    until_answered,
    usage_of,
)
from tests.redis_server import RedisServer

LEASE = "production:sidecar:feed-lease"
UNJUDGED_ROUNDS = 20
"""So many that one stays undisturbed on any machine."""
Instance = tuple[SidecarProcess, Client]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def sharing_variables(redis: RedisServer, **variables: str) -> dict[str, str]:
    return {"REDIS_ENVIRONMENT_PREFIX": "production", "REDIS_PORT": str(redis.port)} | variables


@asynccontextmanager
async def instances(
    count: int, emulator: Emulator, redis: RedisServer, folder: Path, **variables: str
) -> AsyncIterator[list[Instance]]:
    """Sidecars of one prefix, and a client of each."""
    async with AsyncExitStack() as stack:
        started = []
        for number in range(count):
            sidecar = await stack.enter_async_context(
                running_sidecar(emulator, folder / str(number), **sharing_variables(redis, **variables))
            )
            started.append((sidecar, await stack.enter_async_context(client_of(sidecar))))
        yield started


@pytest.fixture
async def two(emulator: Emulator, redis: RedisServer, tmp_path: Path) -> AsyncIterator[list[Instance]]:
    """Two instances that follow the feed, the first of them for both."""
    async with instances(2, emulator, redis, tmp_path) as started:
        for sidecar, _ in started:
            await sidecar.following()
        yield started


async def _role(sidecar: SidecarProcess) -> str:
    return str((await sidecar.parts())["feed"]["role"])


async def _leads_and_follows(sidecar: SidecarProcess) -> bool:
    feed = (await sidecar.parts())["feed"]
    return bool(feed["role"] == "leader" and feed["following"])


async def test_what_one_fetched_costs_the_other_no_call(emulator: Emulator, two: list[Instance]) -> None:
    """Neither in the foreground nor by a re-check behind it."""
    (_, one), (other_sidecar, other) = two
    for number in range(20):
        emulator.state.put(f"customer-{number}", boolean_state(), push=False)
        assert await is_granted(one, f"customer-{number}")

    for number in range(20):
        assert await is_granted(other, f"customer-{number}")

    assert emulator.counters.fetches() == 20
    assert (await other_sidecar.parts())["feed"]["suspects_waiting"] == 0
    assert await other_sidecar.metric('sidecar_rechecks_total{outcome="confirmed"}') == 0


async def test_one_process_follows_the_feed_for_all(emulator: Emulator, two: list[Instance]) -> None:
    """The cloud sees one connection; who holds the lease, and since when, is reported by every instance."""
    (first, _), (second, _) = two

    parts = [await first.parts(), await second.parts()]

    assert ["leader", "follower"] == [each["feed"]["role"] for each in parts]
    assert ["following", "following through holder"] == [each["feed"]["phase"] for each in parts]
    holders = {each["redis"]["feed_lease_holder"] for each in parts}
    assert len(holders) == 1
    assert holders.pop().endswith(f"/{first.process.pid}")
    assert all(each["redis"]["feed_lease_age_seconds"] >= 0 for each in parts)
    assert emulator.feed.connections == 1
    assert [1, 0] == [await each.metric("sidecar_feed_lease_held") for each in (first, second)]


async def test_an_event_reaches_both_soon(emulator: Emulator, two: list[Instance]) -> None:
    """In the median of twenty changes, entitlements and usage alike: 200 ms where a check takes one."""
    clients = [client for _, client in two]
    emulator.state.put("customer-1", boolean_state(), push=False)
    emulator.state.put("customer-2", metered_state(), push=False)
    for client in clients:
        assert await is_granted(client, "customer-1")
        assert await usage_of(client, "customer-2") == 0

    seconds, checks = [], []
    for number in range(1, 21):
        granted = number % 2 == 0
        stamp = f"2026-06-01T00:00:{number:02}.000Z"
        emulator.state.put("customer-1", boolean_state(granted=granted, updated_at=stamp))
        emulator.state.set_usage("customer-2", "m", number)

        async def is_known(granted: bool = granted, usage: int = number) -> bool:
            return all(
                [await is_granted(client, "customer-1") is granted for client in clients]
                + [await usage_of(client, "customer-2") == usage for client in clients]
            )

        seconds.append(await eventually(is_known))
        checks.append(await eventually(is_known))

    assert statistics.median(seconds) < 50 * statistics.median(checks)  # which are four checks each
    assert emulator.counters.fetches() == 2


async def test_what_a_stranger_writes_is_answered_by_every_process(
    emulator: Emulator, redis: RedisServer, two: list[Instance]
) -> None:
    """An official service wrote into Redis what each of them holds in memory; the cloud is not asked."""
    clients = [client for _, client in two]
    emulator.state.put("customer-1", metered_state(usage=4), push=False)
    for client in clients:
        assert await usage_of(client, "customer-1") == 4
    fetches = emulator.counters.fetches()
    usage = {"currentUsage": 9, "usagePeriodStart": None, "usagePeriodEnd": None}
    stamp_ms = str(int(time.time() * 1000))

    key = "production:c_customer-1:f_m"
    redis.command("MSET", key, json.dumps(usage), f"{key}#timestamp", stamp_ms)

    async def is_known() -> bool:
        return [await usage_of(client, "customer-1") for client in clients] == [9, 9]

    await eventually(is_known)
    assert fetches == emulator.counters.fetches()


async def test_a_leader_that_was_stopped_writes_nothing_older_and_does_not_lead_any_more(
    emulator: Emulator, two: list[Instance]
) -> None:
    """What waited in its socket meanwhile is older than what the others wrote."""
    (first, one), (second, other) = two
    emulator.state.put("customer-1", boolean_state(), push=False)
    os.kill(first.process.pid, signal.SIGSTOP)
    try:
        denied = boolean_state(granted=False, updated_at="2026-07-01T00:00:00.000Z")
        emulator.state.put("customer-1", denied)  # waits in the socket of the first
        granted = boolean_state(updated_at="2026-07-01T00:00:01.000Z")
        emulator.state.put("customer-1", granted, push=False)
        await eventually(lambda: _leads_and_follows(second))
        assert await is_granted(other, "customer-1")
    finally:
        os.kill(first.process.pid, signal.SIGCONT)

    await first.printed("feed role changed role=follower was=leader")
    await first.following()

    assert "follower" == await _role(first)
    assert "leader" == await _role(second)
    assert [True, True] == [await is_granted(client, "customer-1") for client in (one, other)]
    assert await second.metric("sidecar_feed_lease_held") == 1
    assert await first.metric("sidecar_feed_lease_held") == 0


async def test_concurrent_first_calls_to_two_instances_are_one_fetch(
    emulator: Emulator, two: list[Instance]
) -> None:
    """The second instance waits for the first one's fetch.

    On a busy machine it may lose patience with Redis, or with the first, and is right to fetch then: such a
    round shows nothing, and there is another.
    """
    emulator.faults.set("edge", "slow", delay_ms=300)

    for number in range(UNJUDGED_ROUNDS):
        customer_id = f"customer-{number}"
        emulator.state.put(customer_id, boolean_state(), push=False)
        given_up, started = await _given_up(two), time.monotonic()
        granted = await asyncio.gather(
            *(is_granted(client, customer_id) for _, client in two for _ in range(50))
        )
        seconds = time.monotonic() - started
        assert all(granted)
        if seconds < TURN_SECONDS and given_up == await _given_up(two):
            break
    else:
        pytest.fail(f"Redis, or a fetch, was given up in each of {UNJUDGED_ROUNDS} rounds")

    assert emulator.counters.fetches(customer_id) == 1


async def _given_up(started: list[Instance]) -> list[float]:
    """How many calls to Redis each of them has not waited for."""
    return [await sidecar.metric("sidecar_redis_client_errors_total") for sidecar, _ in started]


async def test_holder_killed_under_load(emulator: Emulator, two: list[Instance]) -> None:
    """No call to the other instance fails, it holds the feed within 10 s, and nothing is stale after that."""
    (first, _), (second, client) = two
    names = [f"customer-{number}" for number in range(10)]
    for name in names:
        emulator.state.put(name, boolean_state(), push=False)
        assert await is_granted(client, name)
    load = asyncio.create_task(_ask_for_ever(client, names))

    os.kill(first.process.pid, signal.SIGKILL)
    emulator.state.put("customer-0", boolean_state(granted=False, updated_at="2026-07-01T00:00:00.000Z"))
    seconds = await eventually(lambda: _leads_and_follows(second))
    await is_granted(client, "customer-0")
    await eventually(lambda: _is_denied(client, "customer-0"))
    emulator.state.put("customer-1", boolean_state(granted=False, updated_at="2026-07-01T00:00:01.000Z"))
    await eventually(lambda: _is_denied(client, "customer-1"))

    assert not load.done(), "a call failed"
    load.cancel()
    assert seconds < 4 * (LEASE_SECONDS + RENEW_SECONDS)


async def _is_denied(client: Client, customer_id: str) -> bool:
    return not await is_granted(client, customer_id)


async def _ask_for_ever(client: Client, names: list[str]) -> None:
    while True:
        for name in names:
            assert not (await check(client, name)).is_fallback


async def test_holder_that_leaves_hands_the_feed_over_at_once(
    two: list[Instance], redis: RedisServer
) -> None:
    """SIGTERM gives the lease back, which would stand for a while yet."""
    (first, _), (second, _) = two
    lease = redis.text(LEASE)

    assert await first.stop() == 0
    assert lease != redis.text(LEASE)
    await eventually(lambda: _leads_and_follows(second))


async def test_everything_restarted_with_the_cloud_down(
    emulator: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """What was cached before is answered, and is no fallback."""
    names = [f"customer-{number}" for number in range(30)]
    async with instances(2, emulator, redis, tmp_path / "before") as started:
        for number, name in enumerate(names):
            emulator.state.put(name, boolean_state(), push=False)
            assert await is_granted(started[number % 2][1], name)
    await emulator.stop_listening()

    async with instances(2, emulator, redis, tmp_path / "after") as started:
        answers = [await check(client, name) for _, client in started for name in names]

    assert all(answer.has_access and not answer.is_fallback for answer in answers)


async def test_redis_killed_and_restarted_under_load(
    emulator: Emulator, redis: RedisServer, two: list[Instance]
) -> None:
    """No call fails, none waits for Redis, and sharing begins again without help."""
    (_, one), (_, other) = two
    names = [f"customer-{number}" for number in range(20)]
    for name in names:
        emulator.state.put(name, boolean_state(), push=False)
        assert await is_granted(one, name)
        assert await is_granted(other, name)

    before = await _slow_check_seconds(one, other, names)
    redis.stop()
    during = await _slow_check_seconds(one, other, names)
    redis.start()
    emulator.state.put("new", boolean_state(), push=False)

    assert during < 4 * before + LEAST_SECONDS
    await eventually(lambda: _shares_again(redis, one, emulator))
    emulator.state.put("customer-0", boolean_state(granted=False, updated_at="2026-07-01T00:00:00.000Z"))
    for client in (one, other):
        await eventually(lambda client=client: _is_denied(client, "customer-0"))  # type: ignore[misc]


async def _slow_check_seconds(one: Client, other: Client, names: list[str]) -> float:
    """How long a check of the first takes that is slower than 99 of a hundred; none is a fallback."""
    durations = []
    for _ in range(15):
        for name in names:
            started = time.perf_counter()
            assert await is_granted(one, name)
            durations.append(time.perf_counter() - started)
            assert await is_granted(other, name)
    return sorted(durations)[int(len(durations) * 0.99)]


async def _shares_again(redis: RedisServer, client: Client, emulator: Emulator) -> bool:
    name = f"new-{time.monotonic_ns()}"
    emulator.state.put(name, boolean_state(), push=False)
    await is_granted(client, name)
    return redis.text(f"production:c_{name}") is not None


async def test_redis_absent_at_start(emulator: Emulator, redis: RedisServer, tmp_path: Path) -> None:
    """Each process follows the feed for itself, until there is a Redis."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    redis.stop()

    async with instances(2, emulator, redis, tmp_path) as ((first, one), (second, other)):
        assert await is_granted(one, "customer-1")
        assert await is_granted(other, "customer-1")
        await first.following()
        await second.following()
        assert "standalone" == await _role(first)
        assert "standalone" == await _role(second)
        emulator.state.put("customer-1", boolean_state(granted=False, updated_at="2026-07-01T00:00:00.000Z"))
        for client in (one, other):
            await eventually(lambda client=client: _is_denied(client, "customer-1"))  # type: ignore[misc]

        redis.start()

        async def is_shared() -> bool:
            return {await _role(first), await _role(second)} == {"leader", "follower"}

        await eventually(is_shared)


@pytest.mark.parametrize("weather", ["paused", "readonly", "full", "password", "foreign"])
async def test_redis_in_bad_weather(
    emulator: Emulator, redis: RedisServer, tmp_path: Path, weather: str
) -> None:
    """Checks are answered from the cloud and from memory, in time; what Redis did not take is counted."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    emulator.state.put("customer-2", metered_state(usage=4), push=False)

    async with instances(1, emulator, redis, tmp_path) as ((sidecar, client),):
        await sidecar.following()
        with _weather(redis, weather):
            started = time.perf_counter()
            assert await is_granted(client, "customer-1")
            assert await usage_of(client, "customer-2") == 4
            assert time.perf_counter() - started < 10 * MOST_SECONDS
            for _ in range(20):
                assert await is_granted(client, "customer-1")
        if weather == "paused":
            await eventually(lambda: _shares_again(redis, client, emulator))
        assert await is_granted(client, "customer-1")
        errors = await sidecar.metric("sidecar_redis_client_errors_total")
        junk = await sidecar.metric('sidecar_cache_junk_total{tier="redis"}')
        assert errors + junk > 0
        assert "secret" not in sidecar.output


@contextlib.contextmanager
def _weather(redis: RedisServer, weather: str) -> Iterator[None]:
    match weather:
        case "paused":
            redis.pause()
            yield
            redis.resume()
        case "readonly":
            redis.command("REPLICAOF", "127.0.0.1", "1")
            yield
        case "full":
            redis.command("CONFIG", "SET", "maxmemory", "1")
            yield
        case "password":
            redis.command("CONFIG", "SET", "requirepass", "secret")
            redis.password = "secret"
            redis.command("CLIENT", "KILL", "TYPE", "normal")
            yield
        case _:
            redis.command("LPUSH", "production:c_customer-1", "not ours")
            redis.command("SET", "production:c_customer-2", "{not json")
            redis.command("SET", "production:c_customer-2#timestamp", "1")
            yield


async def test_emptied_redis_is_filled_as_entities_are_used(
    emulator: Emulator, redis: RedisServer, two: list[Instance]
) -> None:
    """FLUSHALL loses nothing that matters: what is asked for next is shared again."""
    (_, one), (_, other) = two
    emulator.state.put("customer-1", boolean_state(), push=False)
    assert await is_granted(one, "customer-1")

    redis.command("FLUSHALL")
    assert await is_granted(other, "customer-1")

    assert redis.text("production:c_customer-1") is not None


async def test_key_of_the_older_form_is_read(
    emulator: Emulator, redis: RedisServer, two: list[Instance]
) -> None:
    """An official service of some years ago wrote it; no upstream call is needed."""
    (_, client), _ = two
    entitlement: dict[str, Any] = {
        "calculatedEntitlement": {
            "feature": {
                "id": "old",
                "featureType": "NUMBER",
                "meterType": "Fluctuating",
                "description": None,
            },
            "usageLimit": 10,
            "hasUnlimitedUsage": False,
        },
        "featureUsage": {"currentUsage": 4},
    }
    redis.command("SET", "production:c_customer-1", json.dumps({"old": entitlement}), "EX", 604800)
    redis.command("SET", "production:c_customer-1#timestamp", "1750000000000", "EX", 604800)
    usage = {"currentUsage": 6, "usagePeriodStart": None, "usagePeriodEnd": None}
    redis.command("SET", "production:c_customer-1:f_old", json.dumps(usage), "EX", 604800)
    redis.command("SET", "production:c_customer-1:f_old#timestamp", "1750000000000", "EX", 604800)

    request = pb.GetMeteredEntitlementRequest(customer_id="customer-1", feature_id="old")
    answer = await client.GetMeteredEntitlement(request)

    assert answer.has_access
    assert 6 == answer.entitlement.current_usage
    assert not answer.is_fallback
    assert emulator.counters.fetches() == 0


async def test_a_dead_subscription_is_made_anew(
    emulator: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """A worker was deaf for the holder's words: nothing ever ended the connection that they came by.

    It trusted what it had for SIDECAR_MAX_UNVERIFIED_SECONDS, again and again, until Redis was restarted.
    """
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(TcpProxy(redis.port))
        variables = sharing_variables(redis)
        holder = await stack.enter_async_context(running_sidecar(emulator, tmp_path / "holder", **variables))
        await holder.following()
        variables["REDIS_PORT"] = str(line.port)
        hearer = await stack.enter_async_context(running_sidecar(emulator, tmp_path / "hearer", **variables))
        await hearer.following()
        client = await stack.enter_async_context(client_of(hearer))

        line.forget()

        await hearer.printed("redis does not name what changes")
        await hearer.following()
        assert "follower" == await _role(hearer)
        emulator.state.put("customer-1", boolean_state(updated_at="2026-06-01T00:00:01.000Z"), push=False)
        assert await is_granted(client, "customer-1")
        denied = boolean_state(granted=False, updated_at="2026-06-01T00:00:02.000Z")
        emulator.state.put("customer-1", denied)
        await eventually(lambda: _is_denied(client, "customer-1"))


async def test_healed_feed_of_the_holder_heals_the_others(emulator: Emulator, two: list[Instance]) -> None:
    """A change made while the holder's socket was down is answered by both within one re-check."""
    clients = [client for _, client in two]
    emulator.state.put("customer-1", boolean_state(), push=False)
    for client in clients:
        assert await is_granted(client, "customer-1")

    await emulator.stop_listening()
    emulator.state.put(
        "customer-1", boolean_state(granted=False, updated_at="2026-07-01T00:00:00.000Z"), push=False
    )
    await emulator.resume_listening()
    for sidecar, _ in two:
        await sidecar.following(seconds=40)

    for client in clients:
        await until_answered(client, "customer-1")
        await eventually(lambda client=client: _is_denied(client, "customer-1"))  # type: ignore[misc]
