"""The failures of docs/operating.md's table, each made on real processes."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest

from emulator.server import Emulator
from tests.eventually import MOST_SECONDS, eventually
from tests.harness import SidecarProcess, check, client_of, is_granted, running_sidecar
from tests.redis_server import RedisServer

SECONDS = MOST_SECONDS
CUSTOMERS = [f"customer-{number}" for number in range(5)]


@dataclass(kw_only=True)
class World:
    """What a failure is made with."""

    emulator: Emulator
    redis: RedisServer
    folder: Path

    def sidecar(self, **variables: str) -> AbstractAsyncContextManager[SidecarProcess]:
        return running_sidecar(self.emulator, self.folder, **variables)

    def sharing(self, **variables: str) -> AbstractAsyncContextManager[SidecarProcess]:
        shared = {"REDIS_ENVIRONMENT_PREFIX": "production", "REDIS_PORT": str(self.redis.port)}
        return self.sidecar(**shared, **variables)


Weather: TypeAlias = Callable[[World], AbstractAsyncContextManager[SidecarProcess]]
WEATHER: dict[str, Weather] = {}


def weather(row: str) -> Callable[[Callable[[World], AsyncIterator[SidecarProcess]]], Weather]:
    """The failure of a row; while it is entered, the sidecar suffers from it."""

    def added(make: Callable[[World], AsyncIterator[SidecarProcess]]) -> Weather:
        WEATHER[row] = asynccontextmanager(make)
        return WEATHER[row]

    return added


async def ask(sidecar: SidecarProcess, names: list[str]) -> None:
    async with client_of(sidecar) as client:
        for name in names:
            await check(client, name)


@weather("start with Stigg unreachable or the key refused: unreachable")
async def start_unreachable(world: World) -> AsyncIterator[SidecarProcess]:
    await world.emulator.stop_listening()
    async with world.sidecar() as sidecar:
        yield sidecar


@weather("start with Stigg unreachable or the key refused: refused")
async def start_refused(world: World) -> AsyncIterator[SidecarProcess]:
    async with world.sidecar(SERVER_API_KEY="made-up") as sidecar:
        yield sidecar


@weather("Edge fails, GraphQL works")
async def edge_fails(world: World) -> AsyncIterator[SidecarProcess]:
    world.emulator.faults.set("edge", "down")
    async with world.sidecar() as sidecar, client_of(sidecar) as client:
        assert all([await is_granted(client, name) for name in CUSTOMERS])
        yield sidecar


@weather("API unreachable, entity cached in memory or Redis")
async def cloud_away_cached(world: World) -> AsyncIterator[SidecarProcess]:
    async with world.sidecar(SIDECAR_MAX_UNVERIFIED_SECONDS="0.1") as sidecar, client_of(sidecar) as client:
        await sidecar.following()
        assert all([await is_granted(client, name) for name in CUSTOMERS])
        await world.emulator.stop_listening()
        await sidecar.printed("the live feed is not connected")
        await eventually(lambda: asks_again(client, sidecar))
        yield sidecar


async def asks_again(client: Any, sidecar: SidecarProcess) -> bool:
    assert all([await is_granted(client, name) for name in CUSTOMERS])
    return "the Stigg api" in sidecar.output


@weather("API unreachable, entity not cached")
async def cloud_away_uncached(world: World) -> AsyncIterator[SidecarProcess]:
    async with world.sidecar() as sidecar:
        await sidecar.following()
        await world.emulator.stop_listening()
        await ask(sidecar, CUSTOMERS)
        yield sidecar


@weather("feed lost")
async def feed_lost(world: World) -> AsyncIterator[SidecarProcess]:
    async with world.sidecar() as sidecar:
        await sidecar.following()
        world.emulator.faults.set("ws", "down")
        world.emulator.feed.drop()
        yield sidecar


@weather("Redis down")
async def redis_down(world: World) -> AsyncIterator[SidecarProcess]:
    async with world.sharing() as sidecar:
        world.redis.stop()
        await ask(sidecar, CUSTOMERS)
        yield sidecar


@weather("Redis slow, full (OOM), read-only, holding junk: slow")
async def redis_slow(world: World) -> AsyncIterator[SidecarProcess]:
    async with world.sharing() as sidecar:
        world.redis.pause()
        await ask(sidecar, CUSTOMERS)
        yield sidecar
        world.redis.resume()


@weather("Redis slow, full (OOM), read-only, holding junk: full")
async def redis_full(world: World) -> AsyncIterator[SidecarProcess]:
    async with world.sharing(WS_ENABLED="0") as sidecar:
        world.redis.command("CONFIG", "SET", "maxmemory", "1")
        await ask(sidecar, CUSTOMERS)
        yield sidecar


@weather("Redis slow, full (OOM), read-only, holding junk: read-only")
async def redis_read_only(world: World) -> AsyncIterator[SidecarProcess]:
    async with world.sharing(WS_ENABLED="0") as sidecar:
        world.redis.command("REPLICAOF", "127.0.0.1", "1")
        await ask(sidecar, CUSTOMERS)
        yield sidecar


@weather("Redis slow, full (OOM), read-only, holding junk: junk")
async def redis_junk(world: World) -> AsyncIterator[SidecarProcess]:
    async with world.sharing() as sidecar:
        for name in CUSTOMERS:
            world.redis.command("SET", f"production:c_{name}", "{not json")
            world.redis.command("SET", f"production:c_{name}#timestamp", "1")
        await ask(sidecar, CUSTOMERS)
        yield sidecar


@weather("burst of misses on one entity")
async def burst(world: World) -> AsyncIterator[SidecarProcess]:
    world.emulator.faults.set("edge", "slow", delay_ms=500)
    async with world.sidecar() as sidecar, client_of(sidecar) as client:
        await asyncio.gather(*(is_granted(client, CUSTOMERS[0]) for _ in range(50)))
        yield sidecar


@weather("client sends garbage, oversized messages, floods: garbage")
async def garbage(world: World) -> AsyncIterator[SidecarProcess]:
    async with world.sidecar() as sidecar, grpc.aio.insecure_channel(sidecar.address) as channel:
        call: Any = channel.unary_unary("/stigg.sidecar.v1.SidecarService/GetBooleanEntitlement")
        with pytest.raises(grpc.aio.AioRpcError):
            await call(b"\xff\xff\xff\xff")
        yield sidecar


@weather("client sends garbage, oversized messages, floods: floods")
async def flood(world: World) -> AsyncIterator[SidecarProcess]:
    world.emulator.faults.set("edge", "slow", delay_ms=1000)
    async with world.sidecar(SIDECAR_MAX_CONCURRENT_CALLS="4") as sidecar, client_of(sidecar) as client:
        answers = await asyncio.gather(*(check(client, f"customer-{number}") for number in range(8)))
        assert 4 == [each.is_fallback for each in answers].count(True)
        yield sidecar


@weather("database of fallback rules and people away or damaged")
async def database_damaged(world: World) -> AsyncIterator[SidecarProcess]:
    async with world.sidecar() as sidecar, client_of(sidecar) as client:
        (database,) = world.folder.rglob("sidecar.sqlite3")
        database.write_bytes(b"damaged" * 10_000)
        assert await is_granted(client, CUSTOMERS[0])
        yield sidecar


@weather("SIGTERM")
async def sigterm(world: World) -> AsyncIterator[SidecarProcess]:
    async with world.sidecar(SIDECAR_DRAIN_SECONDS="5", LOG_LEVEL="error") as sidecar:
        sidecar.process.send_signal(signal.SIGTERM)
        yield sidecar
