"""What callers and customers can do to a machine: no fault of anybody, but much of it."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import grpc

from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.reads import path_of
from tests.chaos.machine import Machine
from tests.chaos.records import FailedTry, Run, now
from tests.cloud_states import metered_state, wide_state
from tests.harness import Client, client_at
from tests.rude_client import calling

Targets = Sequence[str]
FEATURES = 2_000
EVENTS_PER_SECOND = 2_000
BATCHES_PER_SECOND = 20
CUSTOMERS_AT_ONCE = 10_000
CALLS_AT_A_TIME = 256
STREAMS = 1_000
"""More than a connection may have."""
PATIENCE_SECONDS = 20.0


@asynccontextmanager
async def wide_customer(machine: Machine, run: Run, _targets: Targets) -> AsyncIterator[None]:
    """A customer of 2,000 features changes, and is asked for all of them, again and again."""
    who = f"wide{run.seed}"

    async def go_on() -> None:
        async with _clients(machine) as clients:
            for number in range(1_000_000):
                stamp = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
                state = wide_state(FEATURES, number, updated_at=stamp.replace("+00:00", "Z"))
                await machine.cloud.ask("PUT", "state", customerId=who, state=state, push=True)
                for client in clients:
                    await _all_of(client, who)
                await asyncio.sleep(0.2)

    async with _beside(go_on):
        yield


async def _all_of(client: Client, who: str) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError):  # it may be away
        request = pb.GetEntitlementsStateV2Request(customer_id=who)
        reply = await client.GetEntitlementsStateV2(request, timeout=PATIENCE_SECONDS)
        shown = {each.numeric.value for each in reply.entitlements}
        assert len(shown) <= 1, f"{who} was shown several versions at once: {shown}"


@asynccontextmanager
async def usage_flood(machine: Machine, run: Run, _targets: Targets) -> AsyncIterator[None]:
    """The cloud reports 2,000 changes of usage a second."""
    who = f"flood{run.seed}"
    await machine.cloud.ask("PUT", "state", customerId=who, state=metered_state(), push=True)
    size = EVENTS_PER_SECOND // BATCHES_PER_SECOND

    async def go_on() -> None:
        for first in range(0, 1_000_000_000, size):
            values = list(range(first, first + size))
            await machine.cloud.ask("POST", "usages", customerId=who, entitlementId="m", values=values)
            await asyncio.sleep(1 / BATCHES_PER_SECOND)

    async with _clients(machine) as clients:
        request = pb.GetMeteredEntitlementRequest(customer_id=who, feature_id="m")
        for client in clients:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await client.GetMeteredEntitlement(request, timeout=PATIENCE_SECONDS)
        async with _beside(go_on):
            yield


@asynccontextmanager
async def crowd(machine: Machine, run: Run, _targets: Targets) -> AsyncIterator[None]:
    """10,000 customers are asked for whom nobody has asked before, as fast as it goes."""
    numbers = iter(range(CUSTOMERS_AT_ONCE))

    async def caller(name: str, client: Client) -> None:
        for number in numbers:
            started, who = now(), f"crowd{run.seed}-{number}"
            request = pb.GetBooleanEntitlementRequest(customer_id=who, feature_id="f")
            try:
                await client.GetBooleanEntitlement(request, timeout=PATIENCE_SECONDS)
            except grpc.aio.AioRpcError as error:
                status = f"{error.code().name}: {error.details()}"
                run.crowd[error.code().name] += 1
                if error.code() is not grpc.StatusCode.UNAVAILABLE:  # it may be away
                    run.failed_tries.append(
                        FailedTry(
                            line=f"{name}/crowd", method="crowd", started=started, ended=now(), status=status
                        )
                    )
            else:
                run.crowd["OK"] += 1

    async with _clients(machine) as clients:
        named = list(zip(machine.instances, clients, strict=True))
        each = CALLS_AT_A_TIME // len(named)
        callers = [asyncio.create_task(caller(*who)) for who in named for _ in range(each)]
        yield
        await asyncio.gather(*callers)


@asynccontextmanager
async def streams_filled(machine: Machine, _run: Run, _targets: Targets) -> AsyncIterator[None]:
    """A client opens all streams that a connection may have, and more, and sends nothing on them."""
    path = path_of("GetBooleanEntitlement")
    async with AsyncExitStack() as stack:
        for name in machine.instances:
            if name not in machine.spaces:
                with contextlib.suppress(OSError):  # it may be away
                    await stack.enter_async_context(
                        calling(machine.ports[name].grpc, path, calls=STREAMS, ends=False)
                    )
        yield


ACTS: dict[str, Callable[[Machine, Run, Targets], AbstractAsyncContextManager[None]]] = {
    "wide customer": wide_customer,
    "usage flood": usage_flood,
    "crowd of 10,000": crowd,
    "streams filled": streams_filled,
}


@asynccontextmanager
async def _clients(machine: Machine) -> AsyncIterator[list[Client]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(client_at(instance.address))
            for instance in machine.instances.values()
        ]


@asynccontextmanager
async def _beside(work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    task = asyncio.create_task(work())
    try:
        yield
    finally:
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
