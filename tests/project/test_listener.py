"""A process that has no file descriptor left for one more connection waits for one at next to no cost."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import psutil
import pytest

from entitlements.control_socket import SOCKET_NAME
from tests.eventually import MOST_SECONDS
from tests.harness import SidecarProcess, check, client_of, running_sidecar

Address: TypeAlias = tuple[str, int] | str

ROOM = 20
"""So many descriptors are left to the process."""
MEASURED_SECONDS = 1.2
MAX_PROCESSOR_SHARE = 0.25
"""A loop that asks again without end takes four fifths of a processor; one that rests, a hundredth."""
UNLIMITED = 1024
MAX_LINES = 40
"""gRPC's core reports it once a second; asyncio alone would write a hundred."""


def listeners(sidecar: SidecarProcess, folder: Path) -> Mapping[str, Address]:
    """Every one of the process, by its name."""
    ports = {"METRICS_PORT": sidecar.http_port, "SIDECAR_HTTP_PORT": sidecar.api_port}
    tcp = {name: ("127.0.0.1", port) for name, port in (ports | {"GRPC_PORT": sidecar.grpc_port}).items()}
    return tcp | {"control socket": str(folder / SOCKET_NAME)}


@asynccontextmanager
async def filled(sidecar: SidecarProcess, address: Address) -> AsyncIterator[None]:
    """While entered, more connections wait there than the process may hold."""
    process = psutil.Process(sidecar.process.pid)
    limit = process.num_fds() + ROOM
    process.rlimit(psutil.RLIMIT_NOFILE, (limit, UNLIMITED))
    with ExitStack() as stack:
        for _ in range(2 * ROOM):
            client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
            stack.enter_context(client).connect(address)
        async with asyncio.timeout(MOST_SECONDS):
            while process.num_fds() < limit - 1:  # noqa: ASYNC110 - the kernel announces no events
                await asyncio.sleep(0.01)
        yield


async def processor_share(sidecar: SidecarProcess) -> float:
    """Seconds of processor that the process takes in a second."""
    process = psutil.Process(sidecar.process.pid)
    before, began = process.cpu_times(), time.monotonic()
    await asyncio.sleep(MEASURED_SECONDS)  # the interval is what is measured
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return used / (time.monotonic() - began)


@pytest.mark.parametrize("engine", ["cq", "aio"])
async def test_a_full_process_is_idle_and_heals(engine: str, tmp_path: Path) -> None:
    """Whichever listener the connections wait at; and asked to end while full, it drains."""
    variables = {"OFFLINE": "1", "SIDECAR_HTTP_PORT": "0", "SIDECAR_GRPC_ENGINE": engine}
    grace = {"SIDECAR_DRAIN_SECONDS": "0", "SIDECAR_SHUTDOWN_GRACE_SECONDS": "1"}
    async with running_sidecar(None, tmp_path, **variables, **grace) as sidecar:
        assert (await sidecar.get("/livez")).status_code == 200
        shares = {}
        for name, address in listeners(sidecar, tmp_path).items():
            async with filled(sidecar, address):
                shares[name] = await processor_share(sidecar)
            assert (await sidecar.get("/livez")).status_code == 200
            async with client_of(sidecar) as client:
                assert (await check(client, "customer")).is_fallback

        assert {} == {name: share for name, share in shares.items() if share > MAX_PROCESSOR_SHARE}
        for metric in ("sidecar_http_refused_requests_total", "sidecar_http_api_refused_requests_total"):
            assert await sidecar.metric(f'{metric}{{cause="no_file_descriptor"}}') > 0

        async with filled(sidecar, ("127.0.0.1", sidecar.grpc_port)):
            assert 0 == await sidecar.stop(), sidecar.output
        assert "Too many open files" not in sidecar.output
        assert len(sidecar.lines) <= MAX_LINES
