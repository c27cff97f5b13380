"""Writes are not lost: real processes, killed, in front of a cloud that flaps.

OUTBOX_EVENTS and OUTBOX_REPORTS make it larger; the full sizes are 50,000 and 10,000.
"""

import asyncio
import os
import random
import resource
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from tests.cloud_states import boolean_state, metered_state
from tests.harness import Client, client_of, is_granted, running_sidecar
from tests.redis_server import RedisServer

pytestmark = pytest.mark.timeout(900)

EVENTS = int(os.environ.get("OUTBOX_EVENTS", "3000"))
REPORTS = int(os.environ.get("OUTBOX_REPORTS", "600"))
KILLS = 5
CUSTOMERS = 20
PER_CALL = 20
WRITERS = 10
CALL_SECONDS = 8.0


def a_call(first: int, customer: int) -> pb.ReportEventsRequest:
    return pb.ReportEventsRequest(
        events=[
            pb.Event(event_name="e", customer_id=f"customer-{customer}", idempotency_key=f"key-{number}")
            for number in range(first, first + PER_CALL)
        ]
    )


async def flap(emulator: Emulator, dice: random.Random) -> None:
    """Down, slow, 500, 429, cut in mid-answer, and well, in turns."""
    while True:
        match dice.choice(["down", "slow", "status", "throttled", "truncated", "lost_answer", "ok"]):
            case "ok":
                emulator.faults.clear("graphql")
            case "slow":
                emulator.faults.set("graphql", "slow", delay_ms=400)
            case kind:
                emulator.faults.set("graphql", kind)
        await asyncio.sleep(dice.uniform(0.1, 0.6))


async def delivered(emulator: Emulator, promised: set[str], *, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not promised <= emulator.state.ledger.keys().keys():  # noqa: ASYNC110 - delivered by others
            await asyncio.sleep(0.1)


class Campaign:
    """Callers that report EVENTS events in all, each event once, and remember what was promised them."""

    def __init__(self) -> None:
        self.promised: set[str] = set()
        self._firsts = iter(range(0, EVENTS, PER_CALL))

    def start(self, client: Client, *, until: int) -> list[asyncio.Task[None]]:
        """Callers that stop once so many events are promised, or none is left to report."""
        return [
            asyncio.create_task(self._report(client, until, number % CUSTOMERS)) for number in range(WRITERS)
        ]

    async def _report(self, client: Client, until: int, customer: int) -> None:
        while len(self.promised) < until and (first := next(self._firsts, None)) is not None:
            request = a_call(first, customer)
            try:
                await client.ReportEvents(request, timeout=CALL_SECONDS)
            except grpc.RpcError:
                continue  # the caller was answered so
            self.promised.update(event.idempotency_key for event in request.events)


@pytest.mark.parametrize("where", ["file", "redis"])
async def test_promised_events_survive_kills_and_outages(
    emulator: Emulator, tmp_path: Path, where: str
) -> None:
    """Every event whose call returned OK is in the cloud, under one key and counted once."""
    campaign = Campaign()
    variables: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        if where == "redis":
            redis = stack.enter_context(RedisServer())
            variables = {"REDIS_ENVIRONMENT_PREFIX": "production", "REDIS_PORT": str(redis.port)}
        flapping = asyncio.create_task(flap(emulator, random.Random(1)))
        stack.callback(flapping.cancel)
        for round_ in range(KILLS):
            async with (
                running_sidecar(emulator, tmp_path, **variables) as sidecar,
                client_of(sidecar) as client,
            ):
                callers = campaign.start(client, until=EVENTS * (round_ + 1) // (KILLS + 1))
                await asyncio.wait(callers, return_when=asyncio.FIRST_COMPLETED)
                sidecar.process.send_signal(signal.SIGKILL)
                await asyncio.gather(*callers)
        async with running_sidecar(emulator, tmp_path, **variables) as sidecar, client_of(sidecar) as client:
            await asyncio.gather(*campaign.start(client, until=EVENTS))
            flapping.cancel()
            emulator.faults.clear("graphql")
            await delivered(emulator, campaign.promised, seconds=120)

    counted = Counter(event["idempotencyKey"] for event in emulator.state.ledger.counted_events())
    print(f"{where}: promised {len(campaign.promised)} of {EVENTS}, in the cloud {len(counted)}")  # noqa: T201
    assert len(campaign.promised) > EVENTS / 2
    assert campaign.promised <= counted.keys()
    assert {1} == set(counted.values())


async def test_total_is_exact_through_ambiguous_failures(emulator: Emulator, tmp_path: Path) -> None:
    """Each DELTA counts once, although answers are lost: retried and kept under one key."""
    emulator.state.put("customer-1", metered_state(), push=False)
    emulator.faults.set("graphql", "lost_answer", probability=0.3)
    async with (
        running_sidecar(emulator, tmp_path, SIDECAR_OUTBOX="all") as sidecar,
        client_of(sidecar) as client,
    ):
        numbers = iter(range(REPORTS))

        async def report() -> None:
            for _ in numbers:
                await client.ReportUsage(
                    pb.ReportUsageRequest(customer_id="customer-1", feature_id="m", value=1), timeout=30
                )

        await asyncio.gather(*(report() for _ in range(WRITERS)))
        emulator.faults.clear("graphql")
        async with asyncio.timeout(120):
            while (await sidecar.parts())["outbox"]["waiting"]:  # noqa: ASYNC110 - HTTP announces no events
                await asyncio.sleep(0.1)

    counted = [each.report.value for each in emulator.state.ledger.reports if each.counted]
    print(f"reported {REPORTS}, counted {sum(counted)}")  # noqa: T201
    assert REPORTS == sum(counted)


async def test_full_outbox_is_an_error_and_reads_go_on(emulator: Emulator, tmp_path: Path) -> None:
    """RESOURCE_EXHAUSTED; the process lives."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    bounds = {"SIDECAR_OUTBOX_MAX_ENTRIES": str(PER_CALL)}
    async with running_sidecar(emulator, tmp_path, **bounds) as sidecar, client_of(sidecar) as client:
        assert await is_granted(client, "customer-1")
        emulator.faults.set("graphql", "down")
        await client.ReportEvents(a_call(0, 1), timeout=CALL_SECONDS)

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.ReportEvents(a_call(100, 1), timeout=CALL_SECONDS)

        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await is_granted(client, "customer-1")
        assert PER_CALL == (await sidecar.parts())["outbox"]["waiting"]
        assert PER_CALL == await sidecar.metric('sidecar_outbox_accepted_total{kind="event"}')


async def test_full_redis_is_an_error_and_reads_go_on(emulator: Emulator, tmp_path: Path) -> None:
    """UNAVAILABLE; the process lives."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    with RedisServer("--maxmemory-policy", "noeviction") as redis:
        variables = {"REDIS_ENVIRONMENT_PREFIX": "production", "REDIS_PORT": str(redis.port)}
        async with running_sidecar(emulator, tmp_path, **variables) as sidecar, client_of(sidecar) as client:
            assert await is_granted(client, "customer-1")
            emulator.faults.set("graphql", "down")
            redis.command("CONFIG", "SET", "maxmemory", 1)

            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await client.ReportEvents(a_call(0, 1), timeout=CALL_SECONDS)

            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert await is_granted(client, "customer-1")


async def test_full_disk_is_an_error_and_reads_go_on(emulator: Emulator, tmp_path: Path) -> None:
    """UNAVAILABLE; the process lives, and keeps events again once there is room."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    async with running_sidecar(emulator, tmp_path) as sidecar, client_of(sidecar) as client:
        assert await is_granted(client, "customer-1")
        emulator.faults.set("graphql", "down")
        await client.ReportEvents(a_call(0, 1), timeout=CALL_SECONDS)
        unlimited = resource.prlimit(
            sidecar.process.pid, resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY)
        )

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.ReportEvents(a_call(100, 1), timeout=CALL_SECONDS)

        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await is_granted(client, "customer-1")
        resource.prlimit(sidecar.process.pid, resource.RLIMIT_FSIZE, unlimited)
        await client.ReportEvents(a_call(200, 1), timeout=CALL_SECONDS)
        assert 2 * PER_CALL == (await sidecar.parts())["outbox"]["waiting"]


async def test_sigterm_delivers_what_waits(emulator: Emulator, tmp_path: Path) -> None:
    """Before the process ends."""
    async with running_sidecar(emulator, tmp_path) as sidecar, client_of(sidecar) as client:
        emulator.faults.set("graphql", "down")
        await client.ReportEvents(a_call(0, 1), timeout=CALL_SECONDS)
        emulator.faults.clear("graphql")
        assert await sidecar.stop() == 0

    assert PER_CALL == len(emulator.state.ledger.keys())


async def test_next_process_delivers_what_was_left(emulator: Emulator, tmp_path: Path) -> None:
    """A cloud that is away does not hold up the end of a process."""
    async with running_sidecar(emulator, tmp_path) as sidecar, client_of(sidecar) as client:
        emulator.faults.set("graphql", "down")
        await client.ReportEvents(a_call(0, 1), timeout=CALL_SECONDS)
        assert await sidecar.stop() == 0
    assert not emulator.state.ledger.keys()
    emulator.faults.clear("graphql")
    async with running_sidecar(emulator, tmp_path):
        await delivered(emulator, {f"key-{number}" for number in range(PER_CALL)}, seconds=30)


async def test_limit_binds_while_the_cloud_is_away(emulator: Emulator, tmp_path: Path) -> None:
    """The meter moves by an estimate that says so, and the cloud's word replaces it."""
    emulator.state.put("customer-1", metered_state(usage=3, limit=5), push=False)
    query = pb.GetMeteredEntitlementRequest(
        customer_id="customer-1", feature_id="m", options=pb.MeteredEntitlementOptions(requested_usage=1)
    )
    async with (
        running_sidecar(emulator, tmp_path, SIDECAR_OUTBOX="all") as sidecar,
        client_of(sidecar) as client,
    ):

        async def asked() -> tuple[bool, float, str]:
            call = client.GetMeteredEntitlement(query, timeout=CALL_SECONDS)
            answer = await call
            trailing = dict(await call.trailing_metadata())
            return answer.has_access, answer.entitlement.current_usage, str(trailing["stigg-state"])

        await sidecar.following()
        assert (await asked())[:2] == (True, 3)
        emulator.faults.set("graphql", "down")
        for _ in range(2):
            answer = await client.ReportUsage(
                pb.ReportUsageRequest(customer_id="customer-1", feature_id="m", value=1), timeout=CALL_SECONDS
            )
            assert not answer.HasField("current_usage")

        assert await asked() == (False, 5, "estimate")
        emulator.faults.clear("graphql")
        async with asyncio.timeout(60):
            # Delivered one after the other: for a moment the cloud knows of the first one only, and shows 4.
            while await asked() != (False, 5, "fresh"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)


async def test_two_instances_deliver_each_event_once_and_in_order(emulator: Emulator, tmp_path: Path) -> None:
    """What either of them accepted for one customer arrives in the order of acceptance, delivered by one."""
    emulator.faults.set("graphql", "down")
    keys = [f"key-{number}" for number in range(40)]
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        variables = {"REDIS_ENVIRONMENT_PREFIX": "production", "REDIS_PORT": str(redis.port)}
        clients, sidecars = [], []
        for name in ("a", "b"):
            sidecar = await stack.enter_async_context(running_sidecar(emulator, tmp_path / name, **variables))
            sidecars.append(sidecar)
            clients.append(await stack.enter_async_context(client_of(sidecar)))
        for number, key in enumerate(keys):
            event = pb.Event(event_name="e", customer_id="customer-1", idempotency_key=key)
            await clients[number % 2].ReportEvents(
                pb.ReportEventsRequest(events=[event]), timeout=CALL_SECONDS
            )
        accepted = sum(
            [await each.metric('sidecar_outbox_accepted_total{kind="event"}') for each in sidecars]
        )

        emulator.faults.clear("graphql")
        await delivered(emulator, set(keys), seconds=60)

    counted = [event.event["idempotencyKey"] for event in emulator.state.ledger.events if event.counted]
    assert sorted(keys) == sorted(counted)  # one that failed alone in the outage comes after the others
    assert accepted == len(keys)
