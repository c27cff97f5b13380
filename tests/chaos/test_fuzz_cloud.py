"""A sidecar whose cloud has gone mad: held answers go on, reads fall back, memory is bounded."""

import asyncio
from pathlib import Path

import grpc
import pytest

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from tests.chaos.bystander import watched
from tests.chaos.hostile import SCALE
from tests.chaos.hostile_cloud import BODIES, FRAMES, GOOD, HostileCloud, hostile_feed, plain
from tests.cloud_states import boolean_state
from tests.harness import Client, check, client_of, is_granted, running_sidecar

pytestmark = pytest.mark.timeout(60 + 240 * SCALE)
BUDGET_SECONDS = 1.0
READS = 6


async def test_no_answer_of_the_cloud_harms_who_is_held(tmp_path: Path) -> None:
    """Bodies that are deep, huge, endless, slow, zipped to nothing or no HTTP at all."""
    async with HostileCloud(plain(GOOD)) as cloud:
        variables = {
            "SERVER_API_KEY": "key",
            "API_URL": cloud.url,
            "EDGE_API_URL": cloud.url,
            "WS_ENABLED": "0",
            "SIDECAR_FETCH_BUDGET_SECONDS": str(BUDGET_SECONDS),
            "SIDECAR_MAX_UNVERIFIED_SECONDS": "3600",
            "SIDECAR_OUTBOX": "off",
            "LOG_LEVEL": "warn",
        }
        async with running_sidecar(None, tmp_path, **variables) as sidecar, client_of(sidecar) as client:
            assert await is_granted(client, "bystander")
            for name, body in BODIES.items():
                cloud.body, before = body, cloud.requests
                async with watched(sidecar):
                    started = asyncio.get_running_loop().time()
                    report = asyncio.create_task(_report(client))
                    answers = await asyncio.gather(*(check(client, f"{name} {n}") for n in range(READS)))
                    refused = await report
                    took = asyncio.get_running_loop().time() - started
                assert [] == [answer for answer in answers if answer.has_access], name
                assert refused is None or len(refused.details() or "") < 2000
                assert took < BUDGET_SECONDS + 12, name
                cloud.body = plain(GOOD)
                await _healed(client, name)
                assert cloud.requests > before, name


async def _report(client: Client) -> grpc.aio.AioRpcError | None:
    """A write; what it is answered fits into a status."""
    request = pb.ReportUsageRequest(customer_id="c", feature_id="f", value=1)
    try:
        await client.ReportUsage(request, timeout=8)
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def _healed(client: Client, name: str) -> None:
    number = 0
    async with asyncio.timeout(40):
        while True:
            number += 1
            answer = await check(client, f"{name} healed {number}")
            if answer.has_access:
                return
            await asyncio.sleep(0.1)


async def test_no_frame_of_the_feed_harms_who_is_held(emulator: Emulator, tmp_path: Path) -> None:
    """Frames that are no JSON, no text, too large, about nobody, or out of turn; it always connects anew."""
    emulator.state.put("bystander", boolean_state())
    connections: list[int] = []
    server = await hostile_feed(connections)
    try:
        port = server.sockets[0].getsockname()[1]
        async with running_sidecar(
            emulator, tmp_path, WS_URL=f"ws://127.0.0.1:{port}", LOG_LEVEL="warn"
        ) as sidecar:
            async with client_of(sidecar) as client:
                assert await is_granted(client, "bystander")
            async with watched(sidecar), asyncio.timeout(100 * SCALE):
                while len(connections) < min(4 + 2 * SCALE, len(FRAMES)):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
    finally:
        server.close()
