"""Three sidecars, a Redis Cluster of three primaries and the emulator, on a laptop: no account, no key."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from django.conf import settings

from emulator.server import Emulator
from entitlements.background import awaited, ended
from sidecar_project import demo_redis
from sidecar_project.demo import (
    STOP_TIMEOUT_SECONDS,
    address_of,
    asked_to_stop,
    emulator_of,
    environment_of,
    forget,
    is_up,
    running,
    started,
)
from sidecar_project.emulating import HIGHEST_PORT

SIDECARS = 3
PORT_STEP = 10
"""Each sidecar's ports are so much above those of the one before."""
PORT_VARIABLES = ("GRPC_PORT", "METRICS_PORT", "SIDECAR_HTTP_PORT")
PREFIX = "demo"


def run(customers: Path | None) -> int:
    """Runs all until SIGTERM or Ctrl-C; returns 0, or the exit code of the sidecar that ended.

    Args:
        customers: a file of who the emulator knows; None: its own few.
    """
    settings.DEMO_DIR.mkdir(parents=True, exist_ok=True)
    return asyncio.run(_run(settings.DEMO_DIR, emulator_of(customers), demo_redis.program()))


async def _run(folder: Path, emulator: Emulator, redis_program: str) -> int:
    stopped = asked_to_stop()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(started(emulator))
        environments = _environments(emulator, folder)
        redis_ports = await stack.enter_async_context(demo_redis.cluster(redis_program))
        for environment in environments:
            environment["SIDECAR_REDIS_NODES"] = ",".join(f"127.0.0.1:{port}" for port in redis_ports)
        sidecars = [
            await stack.enter_async_context(_sidecar(number, environment))
            for number, environment in enumerate(environments, 1)
        ]
        ends = [awaited(each.wait(), name="sidecar") for each in sidecars]
        up = [awaited(is_up(*each), name="up") for each in zip(environments, ends, strict=True)]
        stopping = awaited(stopped.wait(), name="stop")
        inviting = awaited(_invite_once(up, emulator, environments, redis_ports, folder), name="invite")
        await asyncio.wait([*ends, stopping], return_when=asyncio.FIRST_COMPLETED)
        await ended(inviting, *up)
        forget(environments[0])
        for each in sidecars:  # all at once: each takes its time to drain
            if each.returncode is None:
                each.terminate()
        first = next((each.result() for each in ends if each.done()), 0)
    return 0 if stopped.is_set() else first


def _environments(emulator: Emulator, folder: Path) -> list[dict[str, str]]:
    """The variables of each sidecar; one whose port is taken ends the program with a sentence."""
    first = environment_of(emulator, folder)
    found = []
    for number in range(SIDECARS):
        own = folder / f"sidecar-{number + 1}"
        own.mkdir(exist_ok=True)
        ports = {name: _port(name, first[name], number) for name in PORT_VARIABLES}
        found.append(
            first
            | {name: str(port) for name, port in ports.items()}
            | {
                "SIDECAR_DATA_DIR": str(own),
                "REDIS_ENVIRONMENT_PREFIX": PREFIX,
                "SIDECAR_REDIS_MODE": "cluster",
                "SIDECAR_FLEET_SIZE": str(SIDECARS),
            }
        )
    return found


def _port(name: str, text: str, number: int) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= HIGHEST_PORT - PORT_STEP * SIDECARS:
        sys.exit(f"{name} is {text!r}; it must be a port, and the demo takes those {PORT_STEP} above, too")
    port = int(text) + PORT_STEP * number
    if not demo_redis.is_free(port):
        sys.exit(
            f"port {port} of 127.0.0.1 is taken: the demo of a fleet takes {name} ({text}) and the next "
            f"{SIDECARS - 1} in steps of {PORT_STEP}; set {name} to another"
        )
    return port


@asynccontextmanager
async def _sidecar(number: int, environment: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A sidecar whose lines begin with its number; it has drained when this is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *settings.PROGRAM,
        "runsidecar",
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    copying = awaited(_copy(number, process), name="copy")
    try:
        yield process
    finally:
        await demo_redis.stop(process, STOP_TIMEOUT_SECONDS)
        await copying


async def _copy(number: int, process: asyncio.subprocess.Process) -> None:
    async for line in process.stdout or asyncio.StreamReader():
        sys.stdout.write(f"{number} | {line.decode(errors='replace')}")
        sys.stdout.flush()


async def _invite_once(
    up: Sequence["asyncio.Task[bool]"],
    emulator: Emulator,
    environments: Sequence[Mapping[str, str]],
    redis_ports: Sequence[int],
    folder: Path,
) -> None:
    """Once all are ready."""
    if not all(await asyncio.gather(*up)):
        return
    settings.DEMO_RUNNING_FILE.write_text(running(environments[0]))
    health = f"http://127.0.0.1:{environments[0]['METRICS_PORT']}/readyz?verbose"
    addresses = [address_of(each) for each in environments]
    asks = "\n".join(
        f"  {settings.COMMAND} ask customer-demo feature-api-calls --address {each}" for each in addresses
    )
    rows = "\n".join(
        f"  {number}  gRPC {address_of(each)}  HTTP 127.0.0.1:{each['SIDECAR_HTTP_PORT']}  "
        f"metrics and admin http://localhost:{each['METRICS_PORT']}/"
        for number, each in enumerate(environments, 1)
    )
    sys.stdout.write(
        f"""
The demo of a fleet runs. A Stigg emulator plays the cloud ({emulator.url});
three sidecars share a Redis Cluster:
{rows}
  Redis  {", ".join(str(port) for port in redis_ports)} (redis-cli -c -p {redis_ports[0]})

Ask each of them, in another terminal; the cloud is asked once:
{asks}

See who leads, and end that one to see another take over (its process id is in the same answer):
  curl -s {health}

Ctrl-C ends all of it.
"""
    )
    sys.stdout.flush()
