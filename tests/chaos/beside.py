"""Clients as they are, beside a storm: of four stacks, at their defaults, following no health.

Each calls one instance, whatever happens to it. How its calls ended is reported by status in the run's line.
"""

import asyncio
import base64
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from grpc_service.generated import sidecar_pb2 as pb
from tests.chaos.machine import INSTANCES, Machine
from tests.chaos.records import Run
from tests.chaos.rollover import STACKS, Missing, build, calling

MANNERS: Mapping[str, Mapping[str, str]] = {
    "one connection": {},
    "connection per call": {"PER_CALL": "1"},
    "pings": {"PING_SECONDS": "10"},
}
DEADLINES_SECONDS = (0.05, 0.5, 5.0, 30.0)
STEADY = {"CALLERS": "2", "PAUSE_SECONDS": "0.05"}
LAST_CALLS_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One client beside one storm."""

    stack: str
    manner: str
    deadline_seconds: float
    instance: str

    def __str__(self) -> str:
        return f"{self.stack}, {self.manner}, {self.deadline_seconds:g} s"


def chosen(seed: int, stacks: Sequence[str]) -> Beside:
    """By the seed."""
    dice = random.Random(f"beside {seed}")
    return Beside(
        stack=dice.choice(stacks),
        manner=dice.choice(list(MANNERS)),
        deadline_seconds=dice.choice(DEADLINES_SECONDS),
        instance=dice.choice(INSTANCES),
    )


async def built() -> tuple[Sequence[str], Mapping[str, str]]:
    """The stacks that can be used here; and of the others why not."""
    ready, missing = [], {}
    for name in STACKS:
        try:
            await build(name)
            ready.append(name)
        except Missing as why:
            missing[name] = why.reason
    return ready, missing


@asynccontextmanager
async def beside(machine: Machine, run: Run, client: Beside | None) -> AsyncIterator[None]:
    """While entered it calls; what came of it is noted when left."""
    if client is None or client.instance in machine.spaces:
        yield
        return
    folder = await build(client.stack)
    asked = pb.GetBooleanEntitlementRequest(customer_id=run.truth.customers()[0], feature_id="flag")
    async with calling(
        client.stack,
        folder,
        machine.ports[client.instance].grpc,
        request=base64.b64encode(asked.SerializeToString()).decode(),
        manner={**MANNERS[client.manner], **STEADY, "CALL_SECONDS": str(client.deadline_seconds)},
    ) as process:
        draining = asyncio.create_task(_drained(process))
        try:
            yield
        finally:
            assert process.stdin is not None
            process.stdin.close()
            reported = await asyncio.wait_for(draining, LAST_CALLS_SECONDS)
    run.beside[str(client)] = (client.instance, Counter(json.loads(reported.decode().splitlines()[-1])))


async def _drained(process: asyncio.subprocess.Process) -> bytes:
    """What it prints; what it says of each failure is read, or it would stand still."""
    assert process.stdout is not None
    assert process.stderr is not None
    reported, _ = await asyncio.gather(process.stdout.read(), process.stderr.read())
    return reported
