"""A Redis Cluster of three primaries for the demo: it keeps nothing, and listens on this machine alone."""

import asyncio
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

PROGRAMS = ("redis-server", "valkey-server")
NODES = 3
SLOTS = 16_384
BUS_OFFSET = 10_000
"""The nodes speak to each other on a port that is so much higher."""
FIRST_PORT = 20_000
LAST_PORT = 30_000
"""Below what the system gives to clients, so that a free port stays free until the node has it."""
START_TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.05
STOP_TIMEOUT_SECONDS = 5.0


def program() -> str:
    """The server; where there is none, the demo ends with a sentence."""
    found = next((path for path in map(shutil.which, PROGRAMS) if path), None)
    if found is None:
        sys.exit(
            "--demo-fleet needs redis-server or valkey-server on the PATH (Debian: apt-get install "
            "redis-server; macOS: brew install redis); --demo needs none"
        )
    return found


@asynccontextmanager
async def cluster(server: str) -> AsyncIterator[Sequence[int]]:
    """The ports of the nodes of a Cluster that holds nothing; it ends when left."""
    with tempfile.TemporaryDirectory(prefix="demo-redis-") as folder:
        async with AsyncExitStack() as stack:
            ports = _free_ports()
            for port in ports:
                await stack.enter_async_context(_node(server, port, Path(folder)))
            try:
                async with asyncio.timeout(START_TIMEOUT_SECONDS):
                    await _form(ports)
            except (RedisError, TimeoutError):
                sys.exit(f"the Redis Cluster of the demo did not form on the ports {ports} of 127.0.0.1")
            yield ports


@asynccontextmanager
async def _node(server: str, port: int, folder: Path) -> AsyncIterator[None]:
    own = folder / str(port)
    own.mkdir()
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(own),
        "save": "",
        "appendonly": "yes",
        "cluster-enabled": "yes",
        "cluster-node-timeout": "2000",
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    # A session of its own: the terminal sends Ctrl-C to all of ours, and the sidecars need Redis to the end.
    process = await asyncio.create_subprocess_exec(
        server, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        await stop(process, STOP_TIMEOUT_SECONDS)


async def stop(process: asyncio.subprocess.Process, timeout_seconds: float) -> None:
    """Asks a process to end, and ends it where it does not."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), timeout_seconds)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _form(ports: Sequence[int]) -> None:
    """Returns once the nodes are a Cluster that has all slots."""
    async with AsyncExitStack() as stack:
        nodes = [Redis(host="127.0.0.1", port=port) for port in ports]
        for node in nodes:
            stack.push_async_callback(node.aclose)
            await _until(node, "PING", "PONG")
        for number, node in enumerate(nodes):
            slots = range(number * SLOTS // NODES, (number + 1) * SLOTS // NODES)
            await node.execute_command("CLUSTER ADDSLOTS", *slots)
            await node.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            if number:
                await node.execute_command("CLUSTER MEET", "127.0.0.1", ports[0])
        for node in nodes:
            await _until(node, "CLUSTER INFO", "cluster_state:ok")
            await _until(node, "CLUSTER INFO", f"cluster_known_nodes:{NODES}")


async def _until(node: Redis, command: str, wanted: str) -> None:
    while True:
        with suppress(RedisError, OSError):
            if wanted in _text(await node.execute_command(command)):
                return
        await asyncio.sleep(POLL_SECONDS)


def _text(answer: object) -> str:
    """An answer as redis-py may have read it: into a dict, or True for PONG."""
    if isinstance(answer, dict):
        return "\n".join(f"{name}:{value}" for name, value in answer.items())
    return "PONG" if answer is True else str(answer)


def _free_ports() -> list[int]:
    found: list[int] = []
    begin = secrets.randbelow(LAST_PORT - FIRST_PORT)  # two demos that start at once look elsewhere
    for number in range(LAST_PORT - FIRST_PORT):
        port = FIRST_PORT + (begin + number) % (LAST_PORT - FIRST_PORT)
        if is_free(port) and is_free(port + BUS_OFFSET):
            found.append(port)
            if len(found) == NODES:
                return found
    sys.exit(f"there are no {NODES} free ports for Redis between {FIRST_PORT} and {LAST_PORT} of 127.0.0.1")


def is_free(port: int) -> bool:
    """True where a server may listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
