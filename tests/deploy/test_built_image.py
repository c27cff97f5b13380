"""The image as `make image` built it, run without a Docker engine: in a network and a root of its own.

Not shown by this: what the walls of an engine forbid. tests/deploy/test_image.py starts it within such.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.harness import SidecarProcess

IMAGE = os.environ.get("BUILT_IMAGE", "")
USER_ID = 65532
ENVIRONMENT = {"OFFLINE": "1", "LOG_LEVEL": "info"}

pytestmark = [
    pytest.mark.skipif(not IMAGE, reason="`make image` builds the image and runs this"),
    pytest.mark.timeout(120),
]


def buildah(*arguments: str) -> str:
    program = shutil.which("buildah") or "buildah"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.strip()


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    """A container of the image."""
    name = buildah("from", IMAGE)
    yield name
    buildah("rm", name)


def in_container(container: str, *command: str) -> list[str]:
    variables = [f"--env={name}={value}" for name, value in ENVIRONMENT.items()]
    return ["buildah", "run", "--isolation", "chroot", *variables, container, "--", *command]


def configuration() -> dict[str, Any]:
    config: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]
    return config


@asynccontextmanager
async def started(container: str) -> AsyncIterator[tuple[SidecarProcess, psutil.Process]]:
    """What the image runs by itself, in a network of its own; and the process of the sidecar."""
    config = configuration()
    command = in_container(container, *config["Entrypoint"], *config["Cmd"])
    process = await asyncio.create_subprocess_exec(
        *["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    sidecar = SidecarProcess(process)
    try:
        await sidecar.started()
        children = psutil.Process(process.pid).children(recursive=True)
        (inside,) = (child for child in children if "manage.py" in child.cmdline())
        yield sidecar, inside
    finally:
        await sidecar.stop(signal.SIGKILL)


async def answered_inside(pid: int, *probe: str) -> int:
    """The exit code of the image's own probe, in the network of that process."""
    process = await asyncio.create_subprocess_exec("nsenter", f"--net=/proc/{pid}/ns/net", *probe)
    return await process.wait()


async def test_it_starts_as_a_number_binds_port_80_answers_and_stops_in_time(container: str) -> None:
    probe = in_container(container, *configuration()["Healthcheck"]["Test"][1:])

    async with started(container) as (sidecar, inside):
        users = {inside.uids().real, inside.uids().effective}
        healthy = await answered_inside(inside.pid, *probe)
        inside.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(sidecar.process.wait(), timeout=30)

    assert {USER_ID} == users
    assert 80 == sidecar.grpc_port
    assert 0 == healthy
    assert 0 == code


def test_nothing_but_data_can_be_written_to(container: str) -> None:
    """Besides what every container is given: /tmp, /dev, /proc, /run/lock."""
    given = ["/proc", "/sys", "/dev", "/tmp", "/var/tmp", "/run/lock"]  # noqa: S108 - looked for, not used
    pruned = [part for folder in given for part in ("-path", folder, "-o")][:-1]
    find = ["find", "/", "(", *pruned, ")", "-prune", "-o", "!", "-type", "l", "-writable", "-print"]

    found = subprocess.run(  # noqa: S603
        in_container(container, *find), capture_output=True, text=True, check=False
    )

    assert ["/data"] == found.stdout.split()


def test_the_probe_has_its_image_and_its_labels() -> None:
    config = configuration()

    assert f"{USER_ID}:{USER_ID}" == config["User"]
    assert {"80/tcp", "8080/tcp", "8443/tcp"} == set(config["ExposedPorts"])
    assert "Apache-2.0" == config["Labels"]["org.opencontainers.image.licenses"]
    assert Path("/app/deploy/start") == Path(config["Entrypoint"][0])
