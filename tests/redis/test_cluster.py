"""A Redis Cluster: what belongs together is together, all is found, and what moves or dies is followed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from entitlements.cache.redis import RedisTier
from entitlements.cache.tiers import Miss, Shared
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.membership import LeaseStatus
from entitlements.domain.ports import FetchLockOutcome
from entitlements.redis.address import RedisAddress
from entitlements.redis.connection import UNAVAILABLE, RedisConnection
from entitlements.redis.credentials import Credentials
from entitlements.redis.examination import examine
from entitlements.redis.fetch_lock import FetchLock
from entitlements.redis.lease import Lease
from entitlements.redis.notifications import Notifications
from entitlements.redis.shared_records import SharedRecords
from tests.cache.samples import CUSTOMER, NOW_MS, RESOURCE, credit, entity, metered, usage_update
from tests.chaos.proxy import TcpProxy
from tests.eventually import MOST_SECONDS
from tests.fakes import FakeClock
from tests.redis.parts import CLUSTER_KEYS, a_tier, cluster_address, connection_to, put, stopping, taken
from tests.redis_fleet import ClusterFleet
from tests.redis_server import RedisServer, free_port

KEYS = [EntityKey(f"customer-{number}") for number in range(60)]
"""So many that each of three primaries has some."""


@pytest.fixture
async def connection(cluster: ClusterFleet) -> AsyncIterator[RedisConnection]:
    with stopping(connection_to(cluster_address(cluster))) as connection:
        await answering(connection)
        yield connection


@pytest.fixture
def tier(connection: RedisConnection) -> RedisTier:
    return a_tier(connection, keys=CLUSTER_KEYS)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[ClusterFleet]:
    """One that a test may hurt."""
    with ClusterFleet(tmp_path) as fleet:
        yield fleet


async def answering(connection: RedisConnection) -> None:
    """On a busy machine to dial takes longer than a call may."""
    async with asyncio.timeout(MOST_SECONDS):
        while await connection.run(lambda client: client.get("a")) is UNAVAILABLE:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_is_stored_is_found_on_all_nodes(tier: RedisTier, cluster: ClusterFleet) -> None:
    for key in (*KEYS, CUSTOMER, RESOURCE):
        await put(tier, key, entity(metered(), credit()))

    assert all([await taken(tier, key) == entity(metered(), credit()) for key in (*KEYS, CUSTOMER, RESOURCE)])
    assert all(each.command("DBSIZE") > 0 for each in cluster.primaries)
    assert 0 == tier.dropped_writes


async def test_all_of_a_customer_is_on_one_node(tier: RedisTier, cluster: ClusterFleet) -> None:
    """Its resources, its usages and the lock of its fetch included, so that one script may change them."""
    await put(tier, CUSTOMER, entity(metered(), credit()))
    await put(tier, RESOURCE, entity(metered(), credit()))

    owner = cluster.primary_of(CLUSTER_KEYS.entity(CUSTOMER))
    assert owner.texts() == cluster.texts()
    locks = {cluster.primary_of(CLUSTER_KEYS.fetch_lock(key)) for key in (CUSTOMER, RESOURCE)}
    assert {owner} == locks


async def test_usage_moves_and_what_is_dropped_is_gone(tier: RedisTier) -> None:
    for key in KEYS[:10]:
        await put(tier, key, entity(metered(current=1)))

        assert Shared.TAKEN is await tier.apply_usage(key, usage_update(current=5, at_ms=NOW_MS + 1))
        found = await taken(tier, key)
        assert isinstance(found, Entity)
        assert 5 == found.features["seats"].usage.current  # type: ignore[union-attr]

        await tier.drop(key)
        assert await taken(tier, key) is Miss.ABSENT


async def test_all_that_it_holds_is_listed_once(tier: RedisTier) -> None:
    """Page by page, over all primaries; a page that is small has more of them."""
    for key in KEYS:
        await put(tier, key, entity(metered()))
    seen: list[EntityKey] = []
    cursor = 0
    while True:
        page = await tier.page_of_keys(cursor, names=10)
        assert page is not None
        cursor, keys = page
        seen += keys
        if cursor == 0:
            break

    assert sorted(KEYS) == sorted(seen)
    assert all(size and size > 100 for size in await tier.sizes_of(KEYS))


async def test_who_fetches_is_agreed_and_announced(connection: RedisConnection) -> None:
    notifications = Notifications(connection, pattern=CLUSTER_KEYS.fetch_channels)
    notifications.start()
    first, second = (
        FetchLock(
            connection, notifications=notifications, keys=CLUSTER_KEYS, clock=FakeClock(), hold_seconds=5
        )
        for _ in range(2)
    )
    try:
        claims = [await first.claim(key, wait_seconds=5) for key in KEYS[:8]]
        waiting = [asyncio.create_task(second.claim(key, wait_seconds=5)) for key in KEYS[:8]]
        await asyncio.sleep(0)
        for claim in claims:
            await first.done(claim)
        others = await asyncio.gather(*waiting)
    finally:
        await asyncio.to_thread(notifications.stop)

    assert {FetchLockOutcome.ACQUIRED} == {claim.turn for claim in claims}
    assert {FetchLockOutcome.FETCHED_ELSEWHERE} == {claim.turn for claim in others}


async def test_one_leads(connection: RedisConnection) -> None:
    first, second = (
        Lease(connection, name=CLUSTER_KEYS.feed_lease, holder=name, clock=FakeClock()) for name in "ab"
    )

    assert await first.try_hold() is LeaseStatus.OURS
    assert await second.try_hold() is LeaseStatus.OTHERS
    await first.release()
    assert await second.try_hold() is LeaseStatus.OURS


async def test_records_are_shared(connection: RedisConnection) -> None:
    records = SharedRecords(connection, name=CLUSTER_KEYS.overrides, ttl_seconds=60)
    await records.write({"a": b"1", "b": b"2"})
    await records.write({"a": b"3"}, removed=["b"])

    assert {"a": b"3"} == await records.read()


async def test_a_cluster_that_allows_all_is_reported_as_well(connection: RedisConnection) -> None:
    found = await connection.run(lambda client: examine(client, CLUSTER_KEYS, has_outbox=True))

    assert found is not UNAVAILABLE
    assert () == found.refused
    assert not found.is_cluster


async def test_what_is_no_cluster_is_reported_as_such(redis: RedisServer) -> None:
    with stopping(connection_to(RedisAddress(host="h", nodes=(("127.0.0.1", redis.port),)))) as connection:
        assert await connection.run(lambda client: client.get("a")) is UNAVAILABLE
        assert connection.cause is not None
        assert "SIDECAR_REDIS_MODE=plain" in connection.cause.text


async def test_an_absent_cluster_costs_nothing_and_its_coming_is_noticed(cluster: ClusterFleet) -> None:
    """Also when the first of the nodes that are named never comes."""
    nodes = (("127.0.0.1", free_port()), *cluster.addresses)
    with stopping(connection_to(RedisAddress(host="h", nodes=nodes[:1]))) as connection:
        tier = a_tier(connection, keys=CLUSTER_KEYS)
        assert await taken(tier, CUSTOMER) is Miss.UNAVAILABLE
    with stopping(connection_to(RedisAddress(host="h", nodes=nodes))) as connection:
        await answering(connection)


async def test_a_user_without_the_right_to_ask_for_slots_is_reported_so(cluster: ClusterFleet) -> None:
    for each in cluster.primaries:
        each.command("ACL", "SETUSER", "us", "reset", "on", ">pw", "~*", "&*", "+@all", "-cluster")
    address = replace(cluster_address(cluster), credentials=Credentials("us", "pw"))
    with stopping(connection_to(address)) as connection:
        assert await connection.run(lambda client: client.get("a")) is UNAVAILABLE
        assert connection.cause is not None
        assert "CLUSTER SLOTS" in connection.cause.text


async def test_slots_that_move_under_load_are_followed(
    tier: RedisTier, connection: RedisConnection, cluster: ClusterFleet
) -> None:
    """No read fails, none misses what is there, and no write is dropped."""
    keys = KEYS[:20]
    for key in keys:
        await put(tier, key, entity(metered()))
    load = Load(tier, keys)
    source = cluster.primary_of(CLUSTER_KEYS.entity(keys[0]))
    target = next(each for each in cluster.primaries if each is not source)
    moving = {source.command("CLUSTER", "KEYSLOT", CLUSTER_KEYS.entity(key)) for key in keys}
    theirs = [slot for slot in moving if cluster.primary_of_slot(slot) is source]
    async with load:
        for slot in theirs:
            await asyncio.to_thread(cluster.move_slot, source, target, slot)
        for slot in theirs:
            await asyncio.to_thread(cluster.move_slot, target, source, slot)

    assert theirs
    assert load.asked > len(keys)
    assert [] == load.missed, (connection.last_refusal, connection.cause)
    assert 0 == tier.dropped_writes, (connection.last_refusal, connection.cause)
    assert connection.silent_nodes == []


async def test_a_cluster_whose_nodes_all_moved_is_found_by_the_name_that_was_given(
    cluster: ClusterFleet, tmp_path: Path
) -> None:
    """As pods do that all start anew: the addresses that the nodes had are nobody's by then."""
    async with AsyncExitStack() as stack:
        old = stack.enter_context(ClusterFleet(tmp_path, replicas=False))
        name = await stack.enter_async_context(TcpProxy(old.servers[0].port))
        address = RedisAddress(host="h", nodes=(("127.0.0.1", name.port),))
        connection = stack.enter_context(stopping(connection_to(address)))
        await answering(connection)

        name.switch(cluster.servers[0].port)
        for server in old.servers:
            server.stop()

        await answering(connection)


async def test_a_primary_that_dies_is_followed_by_its_replica(own_cluster: ClusterFleet) -> None:
    """The customers of the others notice nothing meanwhile; one node was named, and that one dies."""
    lost = own_cluster.servers[0]
    with stopping(connection_to(cluster_address(own_cluster))) as connection:
        await answering(connection)
        tier = a_tier(connection, keys=CLUSTER_KEYS)
        for key in KEYS:
            await put(tier, key, entity(metered()))
        theirs = [key for key in KEYS if own_cluster.primary_of(CLUSTER_KEYS.entity(key)) is lost]
        lost.command("WAIT", 1, 1000)
        lost.stop()
        while connection.silent_nodes == []:
            await taken(tier, theirs[0])
        silent = connection.silent_nodes
        others = [key for key in KEYS if key not in theirs]
        still = [await taken(tier, key) for key in others[:10]]
        await asyncio.to_thread(own_cluster.failed_over, lost)
        async with asyncio.timeout(MOST_SECONDS):
            while await taken(tier, theirs[0]) is Miss.UNAVAILABLE:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.05)
        after = [await taken(tier, key) for key in theirs]

    assert [f"127.0.0.1:{lost.port}"] == silent
    assert Miss.UNAVAILABLE not in still
    assert [entity(metered())] * len(theirs) == after
    assert [] == connection.silent_nodes


class Load:
    """Reads and writes all keys, again and again, and notes what was not found."""

    def __init__(self, tier: RedisTier, keys: list[EntityKey]) -> None:
        self.asked = 0
        self.missed: list[object] = []
        self._tier = tier
        self._keys = keys

    async def __aenter__(self) -> "Load":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await self._task

    _is_over = False

    async def _run(self) -> None:
        while not self._is_over:
            for key in self._keys:
                found = await taken(self._tier, key)
                self.asked += 1
                if not isinstance(found, Entity):
                    self.missed.append((key, found))
                await put(self._tier, key, entity(metered()))
