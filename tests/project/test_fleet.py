"""Sidecars in front of Redis that is more than one process: its primary dies, and callers notice nothing."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from tests.cloud_states import boolean_state
from tests.eventually import MOST_SECONDS
from tests.harness import CALL_SECONDS, Client, SidecarProcess, check, client_of, is_granted, running_sidecar
from tests.redis_fleet import MASTER, ClusterFleet, SentinelFleet, replicated
from tests.redis_server import RedisServer

CUSTOMERS = [f"customer-{number}" for number in range(20)]
OUTBOX = "production:{sidecar:outbox}"
EVENTS = 20


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """A Redis of some topology, and what a sidecar has to know of it."""

    topology: str
    fleet: SentinelFleet | ClusterFleet
    variables: dict[str, str]

    @property
    def primary(self) -> RedisServer:
        """Who has the outbox."""
        if isinstance(self.fleet, ClusterFleet):
            return self.fleet.primary_of(OUTBOX)
        return self.fleet.primary


def listed(addresses: tuple[tuple[str, int], ...]) -> str:
    return ",".join(f"{host}:{port}" for host, port in addresses)


@pytest.fixture(params=["sentinel", "cluster"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with ExitStack() as stack:
        if request.param == "cluster":
            cluster = stack.enter_context(ClusterFleet(folder))
            # As many as people name: the loss of one of them must not matter.
            variables = {
                "SIDECAR_REDIS_MODE": "cluster",
                "SIDECAR_REDIS_NODES": listed(cluster.addresses[:3]),
            }
            yield Fleet(topology="cluster", fleet=cluster, variables=variables)
        else:
            sentinel = stack.enter_context(SentinelFleet(folder))
            variables = {
                "SIDECAR_REDIS_SENTINELS": listed(sentinel.addresses),
                "SIDECAR_REDIS_SENTINEL_MASTER": MASTER,
            }
            yield Fleet(topology="sentinel", fleet=sentinel, variables=variables)


async def test_a_primary_killed_under_load(emulator: Emulator, fleet: Fleet, tmp_path: Path) -> None:
    """No read fails, none is a fallback, what was promised is delivered once, and changes show again."""
    async with two_sidecars(emulator, fleet, tmp_path) as (sidecars, clients):
        fetches = emulator.counters.fetches()
        parts = [(await each.parts())["redis"] for each in sidecars]
        emulator.faults.set("graphql", "down")
        for number, client in enumerate(clients):
            await client.ReportEvents(events(number), timeout=CALL_SECONDS)
        lost = fleet.primary
        await asyncio.to_thread(replicated, lost)
        load = [asyncio.create_task(ask_for_ever(client)) for client in clients]

        lost.stop()
        await asyncio.to_thread(fleet.fleet.failed_over, lost)
        emulator.faults.clear("graphql")
        await delivered(emulator)
        for sidecar in sidecars:
            await sidecar.following(seconds=60)
        await a_change_shows(emulator, clients)

        assert [] == [each.exception() for each in load if each.done()]
        for each in load:
            each.cancel()

    counted = Counter(event["idempotencyKey"] for event in emulator.state.ledger.counted_events())
    assert dict.fromkeys(PROMISED, 1) == counted
    assert [(fleet.topology, None)] * 2 == [(part["topology"], part["problem"]) for part in parts]
    assert fetches == len(CUSTOMERS)  # what one fetched the other found in Redis


async def test_slots_that_move_under_load(emulator: Emulator, tmp_path: Path) -> None:
    """A resharding while the cloud is away: no read is a fallback, and what waits in the outbox is kept."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with ClusterFleet(folder, replicas=False) as cluster:
        addresses = listed(cluster.addresses)
        variables = {"SIDECAR_REDIS_MODE": "cluster", "SIDECAR_REDIS_NODES": addresses}
        fleet = Fleet(topology="cluster", fleet=cluster, variables=variables)
        async with two_sidecars(emulator, fleet, tmp_path) as (_, clients):
            fetches = emulator.counters.fetches()
            for way in ("edge", "graphql"):
                emulator.faults.set(way, "down")
            for number, client in enumerate(clients):
                await client.ReportEvents(events(number), timeout=CALL_SECONDS)
            load = [asyncio.create_task(ask_for_ever(client)) for client in clients]
            names = [OUTBOX, *(f"production:{{c_{customer}}}" for customer in CUSTOMERS)]
            source = cluster.primary_of(OUTBOX)
            target = next(each for each in cluster.primaries if each is not source)
            slots = {source.command("CLUSTER", "KEYSLOT", name) for name in names}
            moving = [slot for slot in slots if cluster.primary_of_slot(slot) is source]

            for slot in moving:
                await asyncio.to_thread(cluster.move_slot, source, target, slot)

            assert cluster.primary_of(OUTBOX) is target
            assert [] == [each.exception() for each in load if each.done()]
            assert emulator.counters.fetches() == fetches
            emulator.faults.clear("graphql")
            await delivered(emulator)
            for each in load:
                each.cancel()

    counted = Counter(event["idempotencyKey"] for event in emulator.state.ledger.counted_events())
    assert dict.fromkeys(PROMISED, 1) == counted


@asynccontextmanager
async def two_sidecars(
    emulator: Emulator, fleet: Fleet, folder: Path
) -> AsyncIterator[tuple[list[SidecarProcess], list[Client]]]:
    """Both follow, and know all customers."""
    variables = {"REDIS_ENVIRONMENT_PREFIX": "production", **fleet.variables}
    async with AsyncExitStack() as stack:
        sidecars = [
            await stack.enter_async_context(running_sidecar(emulator, folder / name, **variables))
            for name in "ab"
        ]
        clients = [await stack.enter_async_context(client_of(each)) for each in sidecars]
        for sidecar in sidecars:
            await sidecar.following()
        for name in CUSTOMERS:
            emulator.state.put(name, boolean_state(), push=False)
            assert all([await is_granted(client, name) for client in clients])
        yield sidecars, clients


async def delivered(emulator: Emulator) -> None:
    async with asyncio.timeout(MOST_SECONDS):
        while not emulator.state.ledger.keys().keys() >= PROMISED:  # noqa: ASYNC110 - others deliver
            await asyncio.sleep(0.05)


async def a_change_shows(emulator: Emulator, clients: list[Client]) -> None:
    emulator.state.put("customer-0", boolean_state(granted=False, updated_at="2027-01-01T00:00:00.000Z"))
    async with asyncio.timeout(MOST_SECONDS):
        while any([await is_granted(client, "customer-0") for client in clients]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def keys(number: int) -> list[str]:
    return [f"key-{number}-{event}" for event in range(EVENTS)]


def events(number: int) -> pb.ReportEventsRequest:
    reported = [
        pb.Event(event_name="e", customer_id="customer-1", idempotency_key=key) for key in keys(number)
    ]
    return pb.ReportEventsRequest(events=reported)


PROMISED = {*keys(0), *keys(1)}


async def ask_for_ever(client: Client) -> None:
    while True:
        for name in CUSTOMERS:
            assert not (await check(client, name)).is_fallback
        await asyncio.sleep(0.005)
