"""What clients of GRPC_PORT do that take places and give nothing for them."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from itertools import count

import grpc

from grpc_service.generated import sidecar_pb2 as pb
from tests.chaos.noticed import COLD, CUSTOMER
from tests.harness import Client
from tests.rude_client import calling

Attack = Callable[[int], Awaitable[None]]

CHECK = "/stigg.sidecar.v1.SidecarService/GetBooleanEntitlement"
WATCH = "/grpc.health.v1.Health/Watch"
HELD_SECONDS = 5.0
"""Then they come again."""


def _asks_for(customer: str) -> bytes:
    return pb.GetBooleanEntitlementRequest(customer_id=customer, feature_id="f").SerializeToString()


async def _held(connections: int, opened: Callable[[], AbstractAsyncContextManager[None]]) -> None:
    async def one() -> None:
        while True:
            with suppress(OSError):
                async with opened():
                    await asyncio.sleep(HELD_SECONDS)

    await asyncio.gather(*(one() for _ in range(connections)))


async def headers_only(port: int) -> None:
    """Calls that never send their request: eight connections with 250 each."""
    await _held(8, lambda: calling(port, CHECK, calls=250))


async def many_headers_only(port: int) -> None:
    """As many of them as there are places: three connections with 15,000 each."""
    await _held(3, lambda: calling(port, CHECK, calls=15_000))


async def unread_replies(port: int) -> None:
    """Replies that have no window to go through: nine connections with 249 each."""
    await _held(9, lambda: calling(port, CHECK, calls=249, message=_asks_for(CUSTOMER), window=0))


async def watchers(port: int) -> None:
    """Two thousand who watch health."""
    await _held(8, lambda: calling(port, WATCH, calls=250, message=b""))


async def taken_back(port: int) -> None:
    """Misses that are taken back as soon as they are asked for: four connections, 200 at a time."""
    numbers = count()

    async def one() -> None:
        while True:
            message = _asks_for(f"{COLD}back-{next(numbers)}")
            async with calling(port, CHECK, calls=200, message=message, resets=True):
                await asyncio.sleep(0.05)

    await asyncio.gather(*(one() for _ in range(4)))


async def misses(port: int) -> None:
    """One client with two thousand cold customers at a time."""
    numbers = count()
    await _asked_for_ever(
        port,
        2000,
        lambda client: client.GetBooleanEntitlement(
            pb.GetBooleanEntitlementRequest(customer_id=f"{COLD}crowd-{next(numbers)}", feature_id="f"),
            timeout=30,
        ),
    )


async def reports(port: int) -> None:
    """150 reports of usage at a time."""
    await _asked_for_ever(
        port,
        150,
        lambda client: client.ReportUsage(
            pb.ReportUsageRequest(customer_id=CUSTOMER, feature_id="m", value=1), timeout=30
        ),
    )


async def _asked_for_ever(port: int, at_a_time: int, ask: Callable[[Client], Awaitable[object]]) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        client = Client(channel)

        async def one() -> None:
            while True:
                try:
                    await ask(client)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.1)

        await asyncio.gather(*(one() for _ in range(at_a_time)))


ATTACKS: dict[str, Attack] = {
    each.__name__: each
    for each in (headers_only, many_headers_only, unread_replies, watchers, taken_back, misses, reports)
}
