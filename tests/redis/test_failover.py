"""The old primary lives on as a replica, and connections to it with it: they are given up."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from entitlements.redis import connection as connection_module
from entitlements.redis.connection import UNAVAILABLE, Client, RedisConnection
from entitlements.redis.notifications import Notifications
from tests.chaos.proxy import TcpProxy
from tests.eventually import MOST_SECONDS, eventually
from tests.redis.parts import ShiftedClock, a_connection, stopping
from tests.redis_server import RedisServer


@pytest.fixture
def old(own_redis: RedisServer) -> RedisServer:
    return own_redis


@pytest.fixture
def new() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def name(old: RedisServer) -> AsyncIterator[TcpProxy]:
    """What REDIS_HOST names: it leads to another Redis after a fail-over, and cuts no connection."""
    async with TcpProxy(old.port) as proxy:
        yield proxy


@pytest.fixture
def connection(name: TcpProxy, clock: ShiftedClock) -> Iterator[RedisConnection]:
    with stopping(a_connection(f"redis://127.0.0.1:{name.port}/0", clock=clock)) as connection:
        yield connection


def write(client: Client) -> bool:
    return bool(client.set("p:key", "value"))


def read(client: Client) -> object:
    return client.get("p:key")


async def written(connection: RedisConnection) -> None:
    """Returns once a write is taken; nothing is restarted for it."""

    async def is_taken() -> bool:
        return await connection.run(write) is not UNAVAILABLE

    await eventually(is_taken)


def replica_of(new: RedisServer, old: RedisServer) -> None:
    old.command("REPLICAOF", "127.0.0.1", new.port)


def primary_without_replicas(new: RedisServer, old: RedisServer) -> None:
    """Cut off from the others, who have chosen another meanwhile."""
    old.command("CONFIG", "SET", "min-replicas-to-write", "1")


DEMOTIONS = {
    "READONLY": replica_of,
    "NOREPLICAS": primary_without_replicas,
}


@pytest.mark.parametrize("answer", DEMOTIONS)
async def test_writes_reach_the_new_primary(
    connection: RedisConnection, name: TcpProxy, old: RedisServer, new: RedisServer, answer: str
) -> None:
    await asyncio.gather(*(connection.run(write) for _ in range(connection_module.THREADS)))
    DEMOTIONS[answer](new, old)
    name.switch(new.port)

    await written(connection)

    assert "value" == new.text("p:key")
    assert answer == connection.last_refusal


async def test_reads_leave_a_replica_that_lost_its_primary(
    connection: RedisConnection, name: TcpProxy, old: RedisServer, new: RedisServer
) -> None:
    """Where it reports nothing stale, it reports nothing at all."""
    await connection.run(write)
    old.command("CONFIG", "SET", "replica-serve-stale-data", "no")
    old.command("REPLICAOF", "127.0.0.1", 1)
    new.command("SET", "p:key", "newer")
    name.switch(new.port)

    first = await connection.run(read)
    second = await connection.run(read)

    assert UNAVAILABLE == first
    assert b"newer" == second
    assert connection.last_refusal == "MASTERDOWN"


async def test_a_call_that_was_under_way_leaves_no_connection_to_the_old_one(
    connection: RedisConnection, name: TcpProxy, old: RedisServer, new: RedisServer
) -> None:
    """Its connection could not be closed with the others."""
    await connection.run(write)
    taken, let_go = threading.Event(), threading.Event()

    def hold(client: Client) -> None:
        held = client.connection_pool.get_connection()
        taken.set()
        let_go.wait(MOST_SECONDS)
        client.connection_pool.release(held)

    await connection.run(write)
    holding = asyncio.create_task(connection.run(hold))
    await asyncio.to_thread(taken.wait)
    connection._reset()
    name.switch(new.port)
    let_go.set()
    await holding

    assert await connection.run(write)
    assert "value" == new.text("p:key")


async def test_what_is_published_is_received_from_the_new_one(
    connection: RedisConnection, name: TcpProxy, old: RedisServer, new: RedisServer
) -> None:
    notifications = Notifications(connection, pattern="p:*")
    notifications.start()
    try:
        async with asyncio.timeout(MOST_SECONDS):
            await _subscribed(old)
            await connection.run(write)
            old.command("CONFIG", "SET", "min-replicas-to-write", "1")
            name.switch(new.port)
            await written(connection)
            await _subscribed(new)
            with notifications.listening("p:done") as announced:
                new.command("PUBLISH", "p:done", "heard")
                assert b"heard" == await announced
    finally:
        await asyncio.to_thread(notifications.stop)


async def _subscribed(server: RedisServer) -> None:
    await eventually(lambda: server.command("PUBSUB", "NUMPAT"))


async def test_a_redis_that_stays_a_replica_is_not_dialled_at_each_write(
    connection: RedisConnection, old: RedisServer, clock: ShiftedClock
) -> None:
    """It is the one that REDIS_HOST names, by mistake: connections cost more than refusals."""
    old.command("REPLICAOF", "127.0.0.1", 1)
    for _ in range(20):
        await connection.run(write)
    at_once = connection.resets
    clock.shift_seconds += connection_module.RESET_SECONDS
    await connection.run(write)

    assert 1 == at_once
    assert 2 == connection.resets
