"""Outages that befell comparable products, each with its story, done to this one."""

import asyncio
from pathlib import Path

import grpc
import pytest

from emulator.server import Emulator
from entitlements.redis.connection import THREADS
from grpc_service.generated import sidecar_pb2 as pb
from tests.chaos.proxy import TcpProxy
from tests.cloud_states import boolean_state, metered_state
from tests.eventually import eventually
from tests.harness import CALL_SECONDS, Client, check, client_of, running_sidecar
from tests.redis.parts import a_connection, stopping
from tests.redis_server import RedisServer

ASKED_TOGETHER, TIMES = 20, 50


@pytest.mark.parametrize("fault", ["status", "lost_answer"])
async def test_a_report_that_failed_counts_once_when_it_is_sent_again(
    emulator: Emulator, tmp_path: Path, fault: str
) -> None:
    """OpenMeter marked an event as seen, failed to write it, and answered a second try with success.

    It was metered not at all (openmeterio/openmeter, issue 5118). The answer that is lost is the opposite:
    the event was written, and must not be so twice.
    """
    emulator.state.put("c", metered_state())
    event = pb.Event(event_name="e", customer_id="c", idempotency_key="key")
    report = pb.ReportEventsRequest(events=[event])
    async with (
        running_sidecar(emulator, tmp_path, SIDECAR_OUTBOX="off") as sidecar,
        client_of(sidecar) as client,
    ):
        emulator.faults.set("graphql", fault)
        with pytest.raises(grpc.aio.AioRpcError):
            await client.ReportEvents(report, timeout=CALL_SECONDS)
        emulator.faults.clear("graphql")

        await _taken(client, report)

    assert ["key"] == [counted["idempotencyKey"] for counted in emulator.state.ledger.counted_events()]


async def _taken(client: Client, report: pb.ReportEventsRequest) -> None:
    """As a caller does who tries until it is told that it is done."""

    async def is_taken() -> bool:
        try:
            await client.ReportEvents(report, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError:
            return False
        return True

    await eventually(is_taken)


@pytest.mark.parametrize("is_feed_down", [False, True])
async def test_who_is_asked_for_before_they_exist_is_known_once_they_do(
    emulator: Emulator, tmp_path: Path, is_feed_down: bool
) -> None:
    """flagd-proxy kept what it was told of a flag that did not exist until it was started again.

    Every later subscriber got nothing (open-feature/flagd, issue 2030). Here the answer comes by the feed,
    or, where that is away, by asking again.
    """
    async with running_sidecar(emulator, tmp_path) as sidecar, client_of(sidecar) as client:
        await sidecar.following()
        for _ in range(TIMES):
            assert not (await check(client, "late")).has_access
        if is_feed_down:
            emulator.faults.set("ws", "down")
            emulator.feed.drop()

        emulator.state.put("late", boolean_state())

        await eventually(lambda: _has_access(client, "late"))


async def _has_access(client: Client, who: str) -> bool:
    return (await check(client, who)).has_access


async def test_a_redis_that_has_become_slow_is_not_stormed(settings: object) -> None:
    """Many Envoys gave up their connections to a busy node of Redis and dialled anew, which kept it busy.

    Each time-out costs a connection (envoyproxy/envoy, issue 26400): those of one process are bounded by the
    circuit, however many calls it has.
    """
    with RedisServer() as server:
        async with TcpProxy(server.port) as line:
            with stopping(a_connection(f"redis://{line.host}:{line.port}/0")) as connection:
                await connection.run(lambda client: client.ping())
                before = _connections_of(server)
                line.slow(2.0)
                for _ in range(TIMES):
                    asked = [connection.run(lambda client: client.get("key")) for _ in range(ASKED_TOGETHER)]
                    await asyncio.gather(*asked)

                assert THREADS >= _connections_of(server) - before


def _connections_of(server: RedisServer) -> int:
    return int(server.command("INFO", "stats")["total_connections_received"])
