"""The emulator and the sidecar together, on a laptop: no account, no key, no Redis."""

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from django.conf import settings

from emulator.server import Emulator
from entitlements.background import awaited
from sidecar_project.demo_redis import stop
from sidecar_project.emulating import PORT_VARIABLE, port_of, states_of, taken

GRPC_PORT = "50051"
METRICS_PORT = "8080"
HTTP_PORT = "8081"
START_TIMEOUT_SECONDS = 120.0
POLL_SECONDS = 0.1
PASSWORD_BYTES = 9
STOP_TIMEOUT_SECONDS = 20.0
"""A sidecar that has not drained by then is killed."""
ADMIN_USERNAME = "demo"
PASSWORD_FILE_NAME = "admin-password"  # noqa: S105 - the name of a file
"""Holds what was made up for this folder's user of the admin; the invitation shows it."""


def run(customers: Path | None) -> int:
    """Runs both until SIGTERM or Ctrl-C; returns the sidecar's exit code.

    Args:
        customers: a file of who the emulator knows; None: its own few.
    """
    settings.DEMO_DIR.mkdir(parents=True, exist_ok=True)
    return asyncio.run(_run(settings.DEMO_DIR, emulator_of(customers)))


def emulator_of(customers: Path | None) -> Emulator:
    """The cloud, not started yet."""
    port = port_of(os.environ.get(PORT_VARIABLE))
    return Emulator(host="127.0.0.1", port=port, api_key=secrets.token_urlsafe(), states=states_of(customers))


def asked_to_stop() -> asyncio.Event:
    """Set by SIGTERM, Ctrl-C, and the end of the terminal."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


@asynccontextmanager
async def started(emulator: Emulator) -> AsyncIterator[None]:
    """While entered, the emulator runs; where its port is taken, the program ends with a sentence."""
    try:
        await emulator.start()
    except OSError as error:
        sys.exit(taken(emulator.port, error.strerror))
    async with emulator:
        yield


async def _run(folder: Path, emulator: Emulator) -> int:
    stopped = asked_to_stop()
    async with started(emulator):
        environment = environment_of(emulator, folder)
        sidecar = await asyncio.create_subprocess_exec(
            sys.executable, *settings.PROGRAM, "runsidecar", env=environment
        )
        try:
            ended = awaited(sidecar.wait(), name="sidecar")
            if await is_up(environment, ended):
                settings.DEMO_RUNNING_FILE.write_text(running(environment))
                _invite(emulator, environment)
            stopping = awaited(stopped.wait(), name="stop")
            await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            forget(environment)
            await stop(sidecar, STOP_TIMEOUT_SECONDS)
    return 0 if stopped.is_set() else sidecar.returncode or 0


def environment_of(emulator: Emulator, folder: Path) -> dict[str, str]:
    """The sidecar's variables; ports may be set from outside."""
    return {
        "GRPC_PORT": GRPC_PORT,
        "METRICS_PORT": METRICS_PORT,
        "SIDECAR_HTTP_PORT": HTTP_PORT,
        "LOG_LEVEL": "info",
        **os.environ,
        "SERVER_API_KEY": emulator.api_key,
        "API_URL": emulator.url,
        "EDGE_API_URL": emulator.edge_url,
        "WS_URL": emulator.ws_url,
        "SIDECAR_DATA_DIR": str(folder),
        "SIDECAR_ADMIN_USERNAME": ADMIN_USERNAME,
        "SIDECAR_ADMIN_PASSWORD_FILE": str(_password_file(folder)),
        "SIDECAR_LISTEN_HOST": "127.0.0.1",
        "SIDECAR_LOG_FORMAT": "console",
    }


def running(environment: Mapping[str, str]) -> str:
    """What commands must know of a demo with this sidecar."""
    return json.dumps({"address": address_of(environment), "data_dir": environment["SIDECAR_DATA_DIR"]})


def forget(environment: Mapping[str, str]) -> None:
    """Commands find it no more; where another demo of this folder has written its own since, that stays."""
    running_file: Path = settings.DEMO_RUNNING_FILE
    if running_file.exists() and running_file.read_text() == running(environment):
        running_file.unlink(missing_ok=True)


def address_of(environment: Mapping[str, str]) -> str:
    """Where it answers gRPC."""
    return f"127.0.0.1:{environment['GRPC_PORT']}"


def _password_file(folder: Path) -> Path:
    """A file with a password that only this folder's demo has."""
    file = folder / PASSWORD_FILE_NAME
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(PASSWORD_BYTES))
    return file


async def is_up(environment: Mapping[str, str], ended: "asyncio.Task[int]") -> bool:
    """True once the sidecar is ready; False when it ended, or is not ready in time."""
    url = f"http://127.0.0.1:{environment['METRICS_PORT']}/readyz"
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(int(START_TIMEOUT_SECONDS / POLL_SECONDS)):
            if ended.done():
                return False
            try:
                if (await client.get(url)).is_success:
                    return True
            except httpx.TransportError:
                pass
            await asyncio.sleep(POLL_SECONDS)
    return False


def _invite(emulator: Emulator, environment: Mapping[str, str]) -> None:
    http = f"http://127.0.0.1:{environment['METRICS_PORT']}"
    password = Path(environment["SIDECAR_ADMIN_PASSWORD_FILE"]).read_text()
    sys.stdout.write(
        f"""
The demo runs. A Stigg emulator plays the cloud ({emulator.url}); the sidecar answers beside it:
  gRPC     {address_of(environment)}
  HTTP     http://127.0.0.1:{environment["SIDECAR_HTTP_PORT"]} (Connect, OFREP)
  health   {http}/readyz?verbose
  metrics  {http}/metrics
  admin    {http.replace("127.0.0.1", "localhost")}/admin/ as {ADMIN_USERNAME}, password {password}

Ask it, in another terminal:
  {settings.COMMAND} ask customer-demo feature-api-calls
  {settings.COMMAND} ask customer-demo feature-sso
  {settings.COMMAND} ask customer-archived feature-sso

Ctrl-C ends all of it.
"""
    )
    sys.stdout.flush()
