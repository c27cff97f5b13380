"""The servers whose processor time is measured: one of each tree, perhaps with another beside it."""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.scenarios import Sidecar
from bench.servers import Server, channel_to, running
from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.generated import sidecar_pb2_grpc as pb_grpc

KNOWN = "known"
"""A customer whom every server knows."""
IDLE_MEASURED_SECONDS = 2.0
SETTLE_SECONDS = 0.3
IDLE_SECONDS = 0.01
"""A server that uses no more of the processor within that time has nothing to do."""
PROCESS_CLOCK = 2
"""Linux: how a clock's number ends that is the processor time of another process, whose id is before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bed:
    """Where an operation is measured."""

    name: str
    emulator: Emulator
    server: Server
    stub: "pb_grpc.SidecarServiceAsyncStub"
    writer: "Bed | None" = None
    """Another process of the same Redis, which does the same before and is not measured."""
    idle: float = 0.0
    """So much of a processor it takes while nobody asks."""

    async def check(self, customer_id: str) -> None:
        """A Boolean check, which must not be a fallback."""
        answer = await self.stub.GetBooleanEntitlement(
            pb.GetBooleanEntitlementRequest(customer_id=customer_id, feature_id="feature-boolean")
        )
        if answer.is_fallback:
            sys.exit(f"a check of {customer_id} was answered by its fallback")

    async def meter(self, requested: float) -> None:
        """A Metered check of a customer who is known."""
        await self.stub.GetMeteredEntitlement(
            pb.GetMeteredEntitlementRequest(
                customer_id=KNOWN,
                feature_id="feature-metered",
                options=pb.MeteredEntitlementOptions(requested_usage=requested),
            )
        )

    @property
    def spent(self) -> float:
        """Seconds of the processor, so far; by the process' own clock, since psutil's counts in 0.01 s."""
        return time.clock_gettime(~self.server.pid << 3 | PROCESS_CLOCK)

    @property
    def fetches(self) -> int:
        """How many the cloud was asked for, so far."""
        return self.emulator.counters.total("edge")

    async def net_of(self, work: Awaitable[int]) -> float:
        """Microseconds of the processor for each operation of the work, beyond what an idle server takes."""
        loop = asyncio.get_running_loop()
        began_at, spent = loop.time(), self.spent
        operations = await work
        spent = self.spent - spent - self.idle * (loop.time() - began_at)
        return spent / operations * 1e6

    async def idling(self) -> "Bed":
        """The same, where it is known what it takes while nobody asks."""
        await self.settle()
        began_at, spent = asyncio.get_running_loop().time(), self.spent
        await asyncio.sleep(IDLE_MEASURED_SECONDS)
        return replace(self, idle=(self.spent - spent) / (asyncio.get_running_loop().time() - began_at))

    async def settle(self) -> None:
        """Returns once the server has nothing more to do."""
        before = -1.0
        while self.spent - before > IDLE_SECONDS:
            before = self.spent
            await asyncio.sleep(SETTLE_SECONDS)


WITHOUT_BUDGET = {"SIDECAR_EDGE_REQUESTS_PER_MINUTE": "1000000"}
"""Past the budget a miss asks the API, which costs more; what is measured asks hundreds a second."""


@asynccontextmanager
async def _bed(
    emulator: Emulator, tree: Path, settings: dict[str, str], *, writer: Bed | None = None
) -> AsyncIterator[Bed]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        own = {name: value.format(tree=tree.name) for name, value in (WITHOUT_BUDGET | settings).items()}
        server = await stack.enter_async_context(
            running(Sidecar(settings=own), emulator, folder, engine=None, tree=tree)
        )
        channel = await stack.enter_async_context(channel_to(server))
        stub = pb_grpc.SidecarServiceStub(channel)
        bed = Bed(name=tree.name, emulator=emulator, server=server, stub=stub, writer=writer)
        await bed.check(KNOWN)
        yield await bed.idling()


@asynccontextmanager
async def beds_of(
    emulator: Emulator, trees: Sequence[Path], settings: dict[str, str], *, has_writers: bool = False
) -> AsyncIterator[list[Bed]]:
    async with AsyncExitStack() as stack:
        beds = []
        for tree in trees:
            writer = await stack.enter_async_context(_bed(emulator, tree, settings)) if has_writers else None
            beds.append(await stack.enter_async_context(_bed(emulator, tree, settings, writer=writer)))
        yield beds
