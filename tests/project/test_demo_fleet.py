"""The demo of a fleet: three sidecars, a Redis Cluster and the emulator, by one command and one Ctrl-C."""

import os
import re
import shutil
import signal
import socket
from pathlib import Path

import pytest

from sidecar_project.demo_fleet import PORT_STEP, SIDECARS
from sidecar_project.demo_redis import is_free
from tests.harness import environment_for, http_client, spawned
from tests.redis_server import binary, free_port

START_SECONDS = 200.0


def free_ports() -> dict[str, str]:
    """Ports for the first sidecar with room for the others'."""
    found: dict[str, str] = {"EMULATOR_PORT": "0"}
    for name in ("GRPC_PORT", "METRICS_PORT", "SIDECAR_HTTP_PORT"):
        port = free_port()
        while not all(is_free(port + PORT_STEP * number) for number in range(SIDECARS)):
            port = free_port()
        found[name] = str(port)
    return found


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With the server of the development requirements where Redis is not installed."""
    found = environment_for(None, tmp_path) | free_ports()
    if shutil.which("redis-server") is None:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "redis-server").symlink_to(binary())
        found["PATH"] = f"{folder}{os.pathsep}{found['PATH']}"
    return found


async def test_all_three_answer_and_one_ctrl_c_ends_everything(environment: dict[str, str]) -> None:
    """They share a Redis Cluster: what the first fetched the others find there."""
    async with spawned(environment, "--demo-fleet") as demo:
        await demo.printed("Ctrl-C ends all of it", seconds=START_SECONDS)
        addresses = re.findall(r"--address (\S+)", demo.output)
        redis_ports = [int(port) for port in re.findall(r"Redis  (\d+), (\d+), (\d+)", demo.output)[0]]
        reported = []
        for address in addresses:
            question = ("customer-demo", "feature-api-calls", "--address", address, "--timeout", "30")
            async with spawned(environment, *question, command="ask") as ask:
                assert await ask.ended() == 0
            reported.append(re.findall(r"from: (\w+)", ask.output)[0])
        async with http_client() as client:
            page = (await client.get(f"http://127.0.0.1:{environment['METRICS_PORT']}/readyz?verbose")).json()

        assert await demo.stop(signal.SIGINT) == 0

    assert len(addresses) == SIDECARS
    assert reported[0] in {"edge", "api"}
    assert ["redis"] * (SIDECARS - 1) == reported[1:]
    assert page["parts"]["redis"]["topology"] == "cluster"
    assert f"Redis the Cluster of 127.0.0.1:{redis_ports[0]}, " in demo.output
    assert "Traceback" not in demo.output
    assert all(map(is_free, redis_ports))


async def test_a_port_that_is_taken_is_one_sentence(environment: dict[str, str]) -> None:
    """Of the second sidecar, before anything is started."""
    with socket.create_server(("127.0.0.1", int(environment["GRPC_PORT"]) + PORT_STEP)) as other:
        taken = other.getsockname()[1]
        async with spawned(environment, "--demo-fleet") as demo:
            assert await demo.ended() == 1

    assert demo.output.count("\n") == 1
    assert f"port {taken} of 127.0.0.1 is taken" in demo.output
    assert "set GRPC_PORT to another" in demo.output


@pytest.mark.parametrize("port", ["http", "0", "65530"])
async def test_a_port_that_leaves_no_room_is_reported_by_its_variable(
    environment: dict[str, str], port: str
) -> None:
    async with spawned(environment | {"METRICS_PORT": port}, "--demo-fleet") as demo:
        assert await demo.ended() == 1

    assert (
        f"METRICS_PORT is '{port}'; it must be a port, and the demo takes those 10 above, too" in demo.output
    )


async def test_without_a_redis_server_it_says_what_to_install(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with spawned(environment | {"PATH": str(tmp_path)}, "--demo-fleet") as demo:
        assert await demo.ended() == 1

    assert demo.output.startswith("--demo-fleet needs redis-server or valkey-server on the PATH")
    assert demo.output.count("\n") == 1
