"""Redis names what anybody changes: one node, a Cluster, a primary of Sentinels; also after it was lost."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from entitlements.domain.entity import EntityKey
from entitlements.redis import tracking as tracking_module
from entitlements.redis import tracking_line
from entitlements.redis.address import RedisAddress
from entitlements.redis.connection import RedisConnection
from entitlements.redis.keys import Change, KeySpace
from entitlements.redis.tracking import KeyTracking, TrackingState
from tests.chaos.proxy import TcpProxy
from tests.eventually import eventually
from tests.redis.parts import (
    CLUSTER_KEYS,
    KEYS,
    ShiftedClock,
    a_connection,
    cluster_address,
    connection_to,
    stopping,
)
from tests.redis_fleet import MASTER, ClusterFleet, SentinelFleet
from tests.redis_server import RedisServer

A, B = EntityKey("a"), EntityKey("b")


class Listener:
    """Notes what it is told; a test waits for it."""

    def __init__(self, *, wanted: Callable[[Change], bool] = lambda _: True) -> None:
        self.calls: list[object] = []
        self._wanted = wanted

    def wants(self, change: Change) -> bool:
        return self._wanted(change)

    def changed(self, changes: Sequence[Change]) -> None:
        self.calls += changes

    def lease_changed(self) -> None:
        self.calls.append("lease")

    def tracking_began(self) -> None:
        self.calls.append("tracking")

    def tracking_ended(self) -> None:
        self.calls.append("not tracking")

    def emptied(self) -> None:
        self.calls.append("emptied")

    async def learned(self, *expected: object) -> None:
        """Returns once these were told, and nothing beside; then they are forgotten."""
        await eventually(lambda: len(self.calls) >= len(expected))
        told, self.calls = self.calls, []
        assert list(expected) == told


@asynccontextmanager
async def tracked(
    connection: RedisConnection, listener: Listener, *, keys: KeySpace = KEYS
) -> AsyncIterator[KeyTracking]:
    tracking = KeyTracking(connection, keys=keys, monotonic=ShiftedClock().monotonic)
    tracking.start(listener)
    try:
        yield tracking
    finally:
        await asyncio.to_thread(tracking.stop)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_module, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(tracking_module, "REFUSED_PAUSE_SECONDS", 0.05)


@pytest.fixture
def own_connection(own_redis: RedisServer) -> Iterator[RedisConnection]:
    with stopping(a_connection(own_redis.url)) as connection:
        yield connection


async def test_what_a_stranger_writes_is_named(redis: RedisServer, connection: RedisConnection) -> None:
    """Each entity once for all that changed of it in one turn of Redis' loop, whichever keys those were."""
    listener = Listener()
    async with tracked(connection, listener) as tracking:
        await listener.learned("tracking")
        assert tracking.state is TrackingState.ON
        redis.command("MSET", "production:c_a:f_m", "{}", "production:c_a:f_m#timestamp", "1")
        await listener.learned(Change(A, is_whole=False, with_timestamp=True))
        whole = ("production:c_a", "{}", "production:c_a#timestamp", "1", "production:c_a:metadata", "{}")
        redis.command("MSET", *whole, "production:c_a:credit_x", "{}", "production:c_b:r_r:f_m", "{}")
        await listener.learned(
            Change(A, is_whole=True, with_timestamp=True), Change(EntityKey("b", "r"), is_whole=False)
        )
        redis.command("DEL", "production:c_a#timestamp")
        await listener.learned(Change(A, is_whole=True))
        redis.command("SET", KEYS.feed_lease, "{}")
        await listener.learned("lease")


async def test_what_is_of_no_interest_costs_the_listener_nothing(
    redis: RedisServer, connection: RedisConnection
) -> None:
    """Neither another prefix, nor names of ours that are no customer's, nor customers that are not held."""
    listener = Listener(wanted=lambda change: change.key == B)
    async with tracked(connection, listener):
        await listener.learned("tracking")
        redis.command(
            "MSET", "production:c_a", "{}", "elsewhere:c_b", "{}", "production:sidecar:outbox", "{}"
        )
        redis.command("SET", b"production:c_\xff", "{}")
        redis.command("SET", "production:c_b", "{}")

        await listener.learned(Change(B, is_whole=True))


async def test_a_key_that_is_removed_with_its_timestamp_is_told_from_one_alone(
    redis: RedisServer, connection: RedisConnection
) -> None:
    """A Redis that is full gives up one key at a time."""
    names = ("production:c_a", "production:c_a#timestamp", "production:c_a:metadata")
    listener = Listener(wanted=lambda change: change.key == A)
    async with tracked(connection, listener):
        await listener.learned("tracking")
        redis.command(
            "MSET", *(word for name in names for word in (name, "1")), "production:c_b#timestamp", "1"
        )
        await listener.learned(Change(A, is_whole=True, with_timestamp=True))
        for name in names:
            redis.command("DEL", name)
            await listener.learned(Change(A, is_whole=True))
        redis.command("MSET", "production:c_a:metadata", "1", "production:c_a:metadata#timestamp", "1")
        await listener.learned(Change(A, is_whole=True, with_timestamp=True))


async def test_a_key_that_expires_is_named(redis: RedisServer, connection: RedisConnection) -> None:
    listener = Listener()
    async with tracked(connection, listener):
        await listener.learned("tracking")
        redis.command("SET", "production:c_a", "{}", "PX", "50")

        await listener.learned(Change(A, is_whole=True), Change(A, is_whole=True))


async def test_a_redis_that_is_emptied_says_so(redis: RedisServer, connection: RedisConnection) -> None:
    listener = Listener()
    async with tracked(connection, listener):
        await listener.learned("tracking")
        redis.command("FLUSHALL")

        await listener.learned("emptied")


async def test_a_redis_that_goes_and_comes_is_a_gap(
    own_redis: RedisServer, own_connection: RedisConnection
) -> None:
    listener = Listener()
    async with tracked(own_connection, listener) as tracking:
        await listener.learned("tracking")
        own_redis.stop()
        await listener.learned("not tracking")
        assert tracking.state is TrackingState.LOST
        own_redis.start()
        await listener.learned("tracking")
        own_redis.command("SET", "production:c_a", "{}")
        await listener.learned(Change(A, is_whole=True))


async def test_a_dead_connection_is_noticed(own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing ends it; but what is asked by it is not answered."""
    listener = Listener()
    async with TcpProxy(own_redis.port) as line:
        with stopping(a_connection(f"redis://127.0.0.1:{line.port}/0")) as connection:
            async with tracked(connection, listener):
                await listener.learned("tracking")
                monkeypatch.setattr(tracking_line, "PING_SECONDS", 0.05)
                line.forget()
                await listener.learned("not tracking", "tracking")


async def test_where_it_is_refused_that_is_told(
    own_redis: RedisServer, own_connection: RedisConnection
) -> None:
    """Until the right is given."""
    own_redis.command("ACL", "SETUSER", "default", "-client|tracking")
    listener = Listener()
    async with tracked(own_connection, listener) as tracking:
        await listener.learned("not tracking")
        refused = tracking.state
        own_redis.command("ACL", "SETUSER", "default", "+client|tracking")
        await listener.learned("tracking")

        assert TrackingState.REFUSED == refused
        assert TrackingState.ON == tracking.state


async def test_another_redis_behind_the_name_is_a_gap(
    redis: RedisServer, connection: RedisConnection
) -> None:
    listener = Listener()
    async with tracked(connection, listener):
        await listener.learned("tracking")
        connection._reset()
        await listener.learned("not tracking", "tracking")


async def test_every_primary_of_a_cluster_names_its_own(tmp_path: Path) -> None:
    """One that is lost is a gap; then its replica names what changes, as the others did all along."""
    listener = Listener()
    with ClusterFleet(tmp_path) as fleet, stopping(connection_to(cluster_address(fleet))) as connection:
        async with tracked(connection, listener, keys=CLUSTER_KEYS):
            await listener.learned("tracking")
            client = fleet.client()
            names = [EntityKey(f"customer-{number}") for number in range(12)]
            for key in names:
                client.set(CLUSTER_KEYS.entity(key), "{}")
                await listener.learned(Change(key, is_whole=True))
            lost = fleet.primary_of(CLUSTER_KEYS.entity(names[0]))
            lost.stop()
            await listener.learned("not tracking")
            await asyncio.to_thread(fleet.failed_over, lost)
            await listener.learned("tracking")
            client.set(CLUSTER_KEYS.entity(names[0]), "{}")
            await listener.learned(Change(names[0], is_whole=True))


async def test_the_primary_that_the_sentinels_name_is_followed(tmp_path: Path) -> None:
    listener = Listener()
    with SentinelFleet(tmp_path) as fleet:
        address = RedisAddress(host="", sentinels=fleet.addresses, sentinel_master=MASTER)
        with stopping(connection_to(address)) as connection:
            async with tracked(connection, listener):
                await listener.learned("tracking")
                lost = fleet.primary
                lost.stop()
                await listener.learned("not tracking")
                new = await asyncio.to_thread(fleet.failed_over, lost)
                await listener.learned("tracking")
                new.command("SET", "production:c_a", "{}")
                await listener.learned(Change(A, is_whole=True))


async def test_it_can_be_stopped_twice_and_without_a_start(connection: RedisConnection) -> None:
    tracking = KeyTracking(connection, keys=KEYS, monotonic=ShiftedClock().monotonic)

    tracking.stop()
    tracking.stop()


async def test_changes_of_customers_that_are_not_held_cost_few_bytes(
    redis: RedisServer, connection: RedisConnection
) -> None:
    """At most 200 for a usage and its timestamp, each named by itself, with ids of 36 characters."""
    answers_bytes = _bytes_of_events(redis)
    listener = Listener(wanted=lambda change: change.key == A)
    async with tracked(connection, listener):
        await listener.learned("tracking")
        bytes_with_names = _bytes_of_events(redis)
        redis.command("SET", "production:c_a", "{}")
        await listener.learned(Change(A, is_whole=True))

        assert (bytes_with_names - answers_bytes) / EVENTS < 200


EVENTS = 1000


def _bytes_of_events(redis: RedisServer) -> int:
    before = redis.command("INFO", "stats")["total_net_output_bytes"]
    with closing(redis.client()) as client:
        for number in range(EVENTS):
            key = f"production:c_{number:036}:f_feature-api-calls"
            client.execute_command("MSET", key, "{}", f"{key}#timestamp", "1")
    return int(redis.command("INFO", "stats")["total_net_output_bytes"] - before)
