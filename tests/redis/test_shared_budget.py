"""One budget of several connections, in a real Redis; its minutes pass by what stands in its key."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from entitlements.domain.request_budget import HOLD_SECONDS, MINUTE_SECONDS, Pace, Taken
from entitlements.redis.connection import RedisConnection
from entitlements.redis.keys import KeySpace
from entitlements.redis.shared_budget import SharedBudget
from tests.redis.parts import CLUSTER_KEYS, KEYS, a_connection, cluster_address, connection_to, stopping
from tests.redis_fleet import ClusterFleet
from tests.redis_server import RedisServer

PACE = Pace(600)
NAME = KEYS.edge_budget


@pytest.fixture
def budgets(redis: RedisServer) -> Iterator[list[SharedBudget]]:
    connections = [a_connection(redis.url) for _ in range(4)]
    for each in connections:
        each.client.ping()
    yield [SharedBudget(each, name=NAME, pace=PACE) for each in connections]
    for each in connections:
        each.stop()


def pass_time(connection: RedisConnection, seconds: float) -> None:
    """Ages what stands there, as if the time had passed."""
    held = connection.client.get(NAME)
    assert isinstance(held, bytes)
    moved = " ".join(f"{max(0.0, float(each) - seconds * 1000):.3f}" for each in held.split())
    connection.client.set(NAME, moved)


def now_seconds(connection: RedisConnection) -> float:
    seconds, micros = connection.client.time()  # type: ignore[misc]
    return float(seconds + micros / 1e6)


async def taken_by_all(budgets: list[SharedBudget], wanted: int = 20) -> list[Taken]:
    taken = await asyncio.gather(*(each.take(wanted) for each in budgets))
    return [each for each in taken if each is not None]


async def test_all_together_never_take_more_in_a_minute(
    budgets: list[SharedBudget], connection: RedisConnection
) -> None:
    """A budget of 600; what was taken up to HOLD_SECONDS before a minute may be used in it."""
    began_at, used = now_seconds(connection), 0
    rounds = int(MINUTE_SECONDS + HOLD_SECONDS)
    for number in range(rounds):
        if number:
            pass_time(connection, 1)
        while got := sum(each.tokens for each in await taken_by_all(budgets)):
            used += got
    really = now_seconds(connection) - began_at

    assert 0.95 * 600 <= used <= 600 + (really - 1) / PACE.interval_seconds + 1


def _come_since(began_at: float, pace: Pace = PACE) -> float:
    """At most so many requests have come into the budget meanwhile."""
    return (time.monotonic() - began_at) / pace.interval_seconds + 1


async def test_what_is_left_is_the_same_for_all(budgets: list[SharedBudget]) -> None:
    first, second = budgets[:2]
    began_at = time.monotonic()
    assert await first.take(5) == Taken(tokens=5, remaining=PACE.burst - 5)
    seen = await second.take(0)
    assert seen is not None
    assert 0 <= seen.remaining - (PACE.burst - 5) <= _come_since(began_at)


async def test_a_pause_is_everybodys_and_ends_slowly(
    budgets: list[SharedBudget], connection: RedisConnection
) -> None:
    began_at = time.monotonic()
    await budgets[0].close(10)
    await budgets[1].close(50)

    for each in await taken_by_all(budgets):
        assert 0 == each.tokens
        assert 0 == each.remaining
        assert 0 < each.closed_seconds <= 10
    pass_time(connection, 12)
    assert 2 <= sum(each.tokens for each in await taken_by_all(budgets)) <= 7 + _come_since(began_at)
    pass_time(connection, 70)
    assert sum(each.tokens for each in await taken_by_all(budgets)) >= PACE.burst


async def test_a_clock_that_was_set_back_does_not_lock_it(
    budgets: list[SharedBudget], connection: RedisConnection
) -> None:
    await taken_by_all(budgets)
    pass_time(connection, -3600)
    await taken_by_all(budgets)
    pass_time(connection, 2)

    assert sum(each.tokens for each in await taken_by_all(budgets)) > 0


async def test_what_another_wrote_there_is_no_budget(
    budgets: list[SharedBudget], connection: RedisConnection
) -> None:
    """Text is a budget that is full; a list is a Redis that does not answer."""
    connection.client.set(NAME, "nonsense")
    assert await budgets[0].take(1) == Taken(tokens=1, remaining=PACE.burst - 1)
    connection.client.delete(NAME)
    connection.client.rpush(NAME, "x")
    assert await budgets[0].take(1) is None


async def test_a_redis_that_is_gone_answers_nothing(own_redis: RedisServer) -> None:
    connection = a_connection(own_redis.url)
    own_redis.stop()
    assert await SharedBudget(connection, name=NAME, pace=PACE).take(1) is None
    connection.stop()


async def test_in_a_cluster_it_is_one_for_all_and_moves_with_its_slot(cluster: ClusterFleet) -> None:
    """A process that knows another node has the same budget; a resharding fills it for nobody."""
    pace, name, began_at = Pace(60), CLUSTER_KEYS.edge_budget, time.monotonic()
    source = cluster.primary_of(name)
    target = next(each for each in cluster.primaries if each is not source)
    slot = source.command("CLUSTER", "KEYSLOT", name)
    with ExitStack() as stack:
        connections = [stack.enter_context(stopping(connection_to(cluster_address(cluster)))) for _ in "ab"]
        for each in connections:
            await asyncio.to_thread(each.client.ping)
        both = [SharedBudget(each, name=name, pace=pace) for each in connections]
        used = sum(each.tokens for each in await taken_by_all(both))
        assert source.command("EXISTS", name) == 1
        await asyncio.to_thread(cluster.move_slot, source, target, slot)
        try:
            used += sum(each.tokens for each in await taken_by_all(both))
            assert target.command("EXISTS", name) == 1
        finally:
            await asyncio.to_thread(cluster.move_slot, target, source, slot)

    assert pace.burst <= used <= pace.burst + _come_since(began_at, pace)


def test_in_a_cluster_its_key_has_a_tag_of_its_own() -> None:
    cluster = KeySpace(prefix="p", is_cluster=True)

    assert cluster.edge_budget == "p:{sidecar:edge-budget}"
    assert cluster.is_of_the_layout(cluster.edge_budget)
    assert KeySpace(prefix="p").edge_budget == "p:sidecar:edge-budget"
