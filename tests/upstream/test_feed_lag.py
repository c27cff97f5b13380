"""A feed that is never silent, and late all the same."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from emulator.server import Emulator
from entitlements.upstream.feed import FeedPhase
from entitlements.upstream.feed_protocol import Problem
from tests.upstream.test_feed import QUICK, Listener, a_feed, running


@pytest.fixture
def listener() -> Listener:
    return Listener()


@asynccontextmanager
async def a_busy_cloud(pongs: asyncio.Event, frame: str) -> AsyncIterator[str]:
    """Sends one change after the other; a ping behind the first waits for its turn until `pongs`."""

    async def follow(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send('{"type":"connection_ack"}')
        while json.loads(await socket.recv())["type"] != "ping":
            pass
        await socket.send('{"type":"pong"}')
        while not pongs.is_set():
            await socket.send(frame)
            await asyncio.sleep(QUICK.idle_seconds / 10)
        async for message in socket:
            if json.loads(message)["type"] == "ping":
                await socket.send('{"type":"pong"}')

    async with serve(
        follow, "127.0.0.1", 0, subprotocols=[Subprotocol("graphql-transport-ws")], ping_interval=None
    ) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("id_", ["1", "2"])
async def test_a_feed_that_lags_is_not_followed(emulator: Emulator, listener: Listener, id_: str) -> None:
    """What is said now comes behind all that waits: the cloud may have changed its mind long ago.

    A flood of usage did that (2,000 events a second for some seconds): the socket was never silent, and
    checks were answered as fresh that were outdated for ten seconds.
    """
    pongs = asyncio.Event()
    frame = json.dumps({"type": "next", "id": id_, "payload": {"data": {"usageUpdatedV2": None}}})
    async with a_busy_cloud(pongs, frame) as url, running(a_feed(emulator, listener, url=url)) as feed:
        await listener.until("followed")
        await listener.until("lost:lagging")
        state = feed.state
        pongs.set()
        await listener.until("followed", 2)
        after = feed.state

    assert FeedPhase.WAITING == state.phase
    assert Problem.LAGGING == state.problem
    assert FeedPhase.FOLLOWING == after.phase
    assert after.problem is None


async def test_a_lagging_feed_goes_on_delivering(emulator: Emulator, listener: Listener) -> None:
    """On the same connection: what waits in it would be lost with it."""
    pongs = asyncio.Event()
    frame = json.dumps({"type": "next", "id": "1", "payload": {"data": {"usageUpdatedV2": None}}})
    async with a_busy_cloud(pongs, frame) as url, running(a_feed(emulator, listener, url=url)):
        await listener.until("lost:lagging")
        delivered = len(listener.frames)
        await listener.until("frame", delivered + 3)
        pongs.set()
        await listener.until("followed", 2)

    assert ["followed", "lost:lagging", "followed"] == [word for word in listener.calls if word != "frame"]
