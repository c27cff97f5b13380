"""Attacks on a sidecar, each from a process of its own; and what hits, misses and /livez notice of it.

`python -m tests.chaos.attacks [--tree FOLDER] [--seconds 4] [NAME …]` prints a table; of this
tree's sidecar, and beside it of other commits'.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path

from emulator.faults import Fault, FaultKind
from emulator.server import Emulator
from tests.chaos import grpc_attacks, http_attacks
from tests.chaos.hostile_cloud import BODIES, GOOD, Body, HostileCloud, plain
from tests.chaos.noticed import CUSTOMER, Noticed, noticed_of, percentile
from tests.cloud_states import boolean_state
from tests.harness import ROOT, SidecarProcess, check, client_of, environment_for, spawned

FEW_FILES = ("prlimit", "--nofile=1024:1024")
"""The sidecar under attack may open so many files, as many machines have it."""
BEGIN_SECONDS = 1.0
"""An attacker opens its connections."""
COLUMNS = (
    "attack",
    "hit p99 ms: without, with",
    "failed hits and health",
    "miss p50 ms: without, with",
    "failed misses",
    "/livez slowest ms: without, with",
    "missed",
    "memory MB",
)


@dataclass(frozen=True, slots=True)
class Cloud:
    """What the sidecar asks, and how it turns hostile."""

    variables: Mapping[str, str]
    turn: Callable[[], object]


@asynccontextmanager
async def good(_: Emulator) -> AsyncIterator[Cloud]:
    """The emulator as it is."""
    yield Cloud({}, lambda: None)


@asynccontextmanager
async def slow(emulator: Emulator) -> AsyncIterator[Cloud]:
    """Every answer takes half a second: what is measured is the turns, not the emulator."""
    yield Cloud({}, lambda: emulator.faults.set("edge", "slow", delay_ms=500))


@asynccontextmanager
async def hanging_reports(emulator: Emulator) -> AsyncIterator[Cloud]:
    """The API does not answer; the Edge is well."""
    yield Cloud({}, lambda: emulator.faults.set("graphql", Fault(kind=FaultKind.HANG)))


def _hostile(body: Body) -> Callable[[Emulator], AbstractAsyncContextManager[Cloud]]:
    @asynccontextmanager
    async def cloud(_: Emulator) -> AsyncIterator[Cloud]:
        async with HostileCloud(plain(GOOD)) as there:
            yield Cloud(
                {"EDGE_API_URL": there.url, "API_URL": there.url}, lambda: setattr(there, "body", body)
            )

    return cloud


_cookies = count()


async def _with_a_cookie(writer: asyncio.StreamWriter) -> None:
    await plain(GOOD, b"Set-Cookie: c%d=%s; Path=/" % (next(_cookies), b"x" * 200))(writer)


CLOUDS: Mapping[str, Callable[[Emulator], AbstractAsyncContextManager[Cloud]]] = {
    "misses": slow,
    "reports": hanging_reports,
    "cookies": _hostile(_with_a_cookie),
    "redirect": _hostile(BODIES["redirect"]),
}
"""Of the attacks to which it belongs."""
LISTENERS: Mapping[str, Callable[[int], object]] = {**grpc_attacks.ATTACKS, **http_attacks.ATTACKS}
NAMES = (*LISTENERS, *(name for name in CLOUDS if name not in LISTENERS))


async def under_attack(
    sidecar: SidecarProcess, name: str, *, seconds: float, misses: bool = False
) -> Noticed:
    """Attacks for so long, and says what was noticed."""
    if name not in LISTENERS:
        return await noticed_of(sidecar, seconds=seconds, misses=misses)
    port = sidecar.grpc_port if name in grpc_attacks.ATTACKS else sidecar.http_port
    attacker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.attacks", "--at", str(port), name),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert attacker.stdout is not None
    try:
        assert await attacker.stdout.readline()  # it has made its imports
        await asyncio.sleep(BEGIN_SECONDS)
        return await noticed_of(sidecar, seconds=seconds, misses=misses)
    finally:
        with suppress(ProcessLookupError):
            attacker.kill()
        await attacker.wait()


async def row_of(name: str, *, tree: Path | None, seconds: float) -> Sequence[str]:
    """The row of the table: a sidecar of its own, looked at without and with the attack."""
    async with Emulator(host="127.0.0.1", port=0, api_key="made-up") as emulator:
        emulator.state.put(CUSTOMER, boolean_state())
        with tempfile.TemporaryDirectory() as folder:
            async with CLOUDS.get(name, good)(emulator) as cloud:
                variables = {"SIDECAR_OUTBOX": "off", **cloud.variables}
                environment = environment_for(emulator, Path(folder), **variables)
                async with spawned(environment, prefix=FEW_FILES, tree=tree) as sidecar:
                    await sidecar.started()
                    async with client_of(sidecar) as client:
                        await check(client, CUSTOMER)
                    before = await noticed_of(sidecar, seconds=seconds, misses=True)
                    cloud.turn()
                    during = await under_attack(sidecar, name, seconds=seconds, misses=True)
    return _row(before, during)


def _row(before: Noticed, during: Noticed) -> Sequence[str]:
    def both(times: Callable[[Noticed], list[float]], share: float) -> str:
        return ", ".join(f"{percentile(times(each), share) * 1000:.1f}" for each in (before, during))

    return (
        both(lambda each: each.checks, 0.99),
        f"{len(during.failures)} of {len(during.checks)}",
        both(lambda each: each.misses, 0.5),
        f"{len(during.missed_misses)} of {len(during.misses)}",
        both(lambda each: each.livez, 1),
        f"{during.livez_missed} of {len(during.livez)}",
        f"+{during.growth_mb:.0f}",
    )


async def _table(names: Sequence[str], *, trees: Sequence[Path | None], seconds: float) -> None:
    _say(COLUMNS)
    _say(["---"] * len(COLUMNS))
    for name, tree in product(names, trees):
        shown = f"{name} ({tree.name})" if tree else name
        try:
            async with asyncio.timeout(60 + 4 * seconds):
                _say([shown, *await row_of(name, tree=tree, seconds=seconds)])
        except Exception as error:  # noqa: BLE001 - the row of an older tree says what it could not do
            said = (str(error).strip() or repr(error)).splitlines()[-1]
            _say([shown, said, *[""] * (len(COLUMNS) - 2)])


def _say(cells: Sequence[str]) -> None:
    sys.stdout.write("| " + " | ".join(cells) + " |\n")
    sys.stdout.flush()


def main() -> None:
    """Reads the command line; attacks, or has others attack."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.attacks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; else all")
    parser.add_argument(
        "--tree",
        type=Path,
        action="append",
        default=[],
        help="beside this one that of another commit, a folder",
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each is looked at")
    parser.add_argument("--at", type=int, metavar="PORT", help="attack this port, until killed")
    asked = parser.parse_args()
    if asked.at is not None:
        _say(asked.names)
        asyncio.run(LISTENERS[asked.names[0]](asked.at))  # type: ignore[arg-type]
        return
    _say([f"load average {os.getloadavg()[0]:.1f}"])
    asyncio.run(_table(asked.names or NAMES, trees=[*asked.tree, None], seconds=asked.seconds))


if __name__ == "__main__":
    main()
