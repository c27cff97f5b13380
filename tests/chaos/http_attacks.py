"""What strangers do to METRICS_PORT, each in a process of its own; and what hits and /livez notice of it.

`python -m tests.chaos.http_attacks` prints a line for each.
"""

import asyncio
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import grpc
import psutil

from emulator.server import Emulator
from tests.cloud_states import boolean_state
from tests.harness import ROOT, SidecarProcess, check, client_of, environment_for, spawned

CUSTOMER = "bystander"
FEW_FILES = ("prlimit", "--nofile=1024:1024")
"""The sidecar under attack may open so many files, as many machines have it."""
PIECE = b"x" * 65_536
CHECK_PAUSE_SECONDS = 0.002
LIVEZ_PAUSE_SECONDS = 0.1
LIVEZ_SECONDS = 1.0
"""What a kubelet waits for an answer."""
FIGURES_SECONDS = 6.0

Attack = Callable[[int], Awaitable[None]]


async def big_body(port: int) -> None:
    """A body without end, to a page without a login."""
    await asyncio.gather(*(_big_body(port, chunked=bool(number % 2)) for number in range(4)))


async def _big_body(port: int, *, chunked: bool) -> None:
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 98304000"
            writer.write(b"POST /admin/login/ HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n")
            piece = b"10000\r\n" + PIECE + b"\r\n" if chunked else PIECE
            with suppress(OSError):
                for _ in range(1500):
                    writer.write(piece)
                    await writer.drain()
            writer.transport.abort()
        await asyncio.sleep(0.01)


async def dripping(port: int) -> None:
    """A thousand connections that send a byte of a header a second."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))

    async def one() -> None:
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
                while not writer.transport.is_closing():
                    writer.write(b"x")
                    await asyncio.sleep(1)
            await asyncio.sleep(0.5)

    await asyncio.gather(*(one() for _ in range(1000)))


async def new_names(port: int) -> None:
    """Sixty connections that log in, each time by another name."""
    names = count()
    token = b"a" * 64
    head = b"POST /admin/login/ HTTP/1.1\r\nHost: x\r\nCookie: sidecar_csrf=%s\r\n" % token
    head += b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s"

    async def one() -> None:
        body = b"csrfmiddlewaretoken=%s&username=u%d&password=wrong" % (token, next(names))
        await _asked(port, head % (len(body), body))

    await _by(60, one)


async def pages(port: int) -> None:
    """Sixty connections that look at the page of the login."""
    await _by(60, lambda: _asked(port, b"GET /admin/login/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))


async def scrapes(port: int) -> None:
    """Thirty connections that scrape."""
    await _by(30, lambda: _asked(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))


async def _by(connections: int, ask: Callable[[], Awaitable[object]]) -> None:
    async def one() -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                await ask()
            await asyncio.sleep(0)

    await asyncio.gather(*(one() for _ in range(connections)))


async def _asked(port: int, request: bytes) -> bytes:
    """The head of the answer; the connection is closed also where the asker is cancelled."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(20):
            return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.transport.abort()


ATTACKS: dict[str, Attack] = {each.__name__: each for each in (big_body, dripping, new_names, pages, scrapes)}


@dataclass
class Noticed:
    """What others noticed meanwhile."""

    checks: list[float] = field(default_factory=list)
    """Seconds of each."""
    failures: list[str] = field(default_factory=list)
    livez: list[float] = field(default_factory=list)
    livez_missed: int = 0
    """Not answered within a second."""
    growth_mb: float = 0.0

    def percentile(self, share: float) -> float:
        """Of the checks, in seconds."""
        ordered = sorted(self.checks)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


async def under_attack(sidecar: SidecarProcess, attack: str | None, *, seconds: float) -> Noticed:
    """Attacks for so long, and tells what was noticed."""
    noticed = Noticed()
    process = psutil.Process(sidecar.process.pid)
    before = process.memory_info().rss
    attacker = None
    if attack is not None:
        attacker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos.http_attacks", attack, str(sidecar.http_port), cwd=ROOT
        )
        await asyncio.sleep(1.0)  # it imports, and begins
    tasks = [asyncio.create_task(each) for each in (_checks(sidecar, noticed), _livez(sidecar, noticed))]
    try:
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            await asyncio.sleep(0.05)
            noticed.growth_mb = max(noticed.growth_mb, (process.memory_info().rss - before) / 1e6)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if attacker is not None:
            attacker.kill()
            await attacker.wait()
    return noticed


async def _checks(sidecar: SidecarProcess, noticed: Noticed) -> None:
    async with client_of(sidecar) as client:
        while True:
            started = time.perf_counter()
            try:
                answer = await check(client, CUSTOMER)
                if answer.is_fallback:
                    noticed.failures.append(str(answer))
            except grpc.aio.AioRpcError as error:
                noticed.failures.append(str(error.code()))
            noticed.checks.append(time.perf_counter() - started)
            await asyncio.sleep(CHECK_PAUSE_SECONDS)


async def _livez(sidecar: SidecarProcess, noticed: Noticed) -> None:
    while True:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(LIVEZ_SECONDS):
                head = await _asked(
                    sidecar.http_port, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                )
            if not head.startswith(b"HTTP/1.1 200"):
                noticed.livez_missed += 1
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            noticed.livez_missed += 1
        noticed.livez.append(time.perf_counter() - started)
        await asyncio.sleep(LIVEZ_PAUSE_SECONDS)


async def _figures(names: Sequence[str]) -> None:
    async with Emulator(host="127.0.0.1", port=0, api_key="made-up") as emulator:
        emulator.state.put(CUSTOMER, boolean_state())
        for name in (None, *names):
            with tempfile.TemporaryDirectory() as folder:
                environment = environment_for(emulator, Path(folder), SIDECAR_OUTBOX="off")
                async with spawned(environment, prefix=FEW_FILES) as sidecar:
                    await sidecar.started()
                    noticed = await under_attack(sidecar, name, seconds=FIGURES_SECONDS)
                    print(  # noqa: T201 - a program of its own
                        f"{name or 'nothing':10} p50 {noticed.percentile(0.5) * 1000:7.2f} ms"
                        f"  p99 {noticed.percentile(0.99) * 1000:7.2f} ms"
                        f"  failed {len(noticed.failures)}/{len(noticed.checks)}"
                        f"  livez slowest {max(noticed.livez) * 1000:6.0f} ms,"
                        f" missed {noticed.livez_missed}/{len(noticed.livez)}"
                        f"  memory +{noticed.growth_mb:.0f} MB",
                        flush=True,
                    )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        socket.setdefaulttimeout(20)
        asyncio.run(ATTACKS[sys.argv[1]](int(sys.argv[2])))  # type: ignore[arg-type]
    else:
        asyncio.run(_figures(sys.argv[1:] or list(ATTACKS)))
