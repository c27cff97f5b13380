"""The feed's socket: what the listener learns, in every weather."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import pytest
import trustme

from emulator.server import Emulator
from entitlements.clock import SystemClock
from entitlements.upstream.feed import Feed, FeedPhase
from entitlements.upstream.feed_connection import FeedTimings, jittered_backoff
from entitlements.upstream.feed_protocol import Problem
from entitlements.upstream.network import Network
from tests.cloud_states import boolean_state
from tests.eventually import MOST_SECONDS, eventually
from tests.upstream.clouds import Cloud, a_proxy, an_answer
from tests.upstream.parts import an_identity

QUICK = FeedTimings(
    ping_seconds=0.1,
    idle_seconds=0.5,
    handshake_seconds=0.5,
    resubscribe_seconds=0.05,
    first_backoff_seconds=0.05,
    longest_backoff_seconds=0.1,
    first_slow_backoff_seconds=0.1,
    longest_slow_backoff_seconds=0.2,
)


class Listener:
    """Remembers what was called, and can be waited for."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.frames: list[tuple[str, str]] = []
        self._news = asyncio.Condition()

    async def followed(self) -> None:
        await self._note("followed")

    async def lost(self, cause: str) -> None:
        await self._note(f"lost:{cause}")

    async def delivered(self, subscription: str, frame: str) -> None:
        self.frames.append((subscription, frame))
        await self._note("frame")

    async def until(self, word: str, count: int = 1) -> None:
        async with asyncio.timeout(MOST_SECONDS), self._news:
            await self._news.wait_for(lambda: self.calls.count(word) >= count)

    async def _note(self, word: str) -> None:
        async with self._news:
            self.calls.append(word)
            self._news.notify_all()


@pytest.fixture
def listener() -> Listener:
    return Listener()


def a_feed(
    emulator: Emulator,
    listener: Listener,
    *,
    url: str | None = None,
    environment: Mapping[str, str] | None = None,
    **timings: Any,
) -> Feed:
    return Feed(
        url=url or emulator.ws_url,
        identity=an_identity(emulator.api_key),
        listener=listener,
        clock=SystemClock(),
        random=Random(1),
        timings=FeedTimings(**timings) if timings else QUICK,
        network=Network.of(environment or {}),
    )


@pytest.fixture
async def feed(emulator: Emulator, listener: Listener) -> AsyncIterator[Feed]:
    """A feed that runs."""
    feed = a_feed(emulator, listener)
    task = asyncio.create_task(feed.run())
    yield feed
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _until_phase(feed: Feed, problem: Problem | None) -> None:
    await eventually(lambda: feed.state.problem is problem)


async def test_a_change_is_delivered(emulator: Emulator, feed: Feed, listener: Listener) -> None:
    await listener.until("followed")

    emulator.state.put("c", boolean_state())
    await listener.until("frame")

    assert "entitlementsUpdatedV2" == listener.frames[0][0]
    assert '"c"' in listener.frames[0][1]
    assert FeedPhase.FOLLOWING is feed.state.phase
    assert feed.state.last_event_ms is not None


async def test_a_dropped_socket_is_reported_and_healed(
    emulator: Emulator, feed: Feed, listener: Listener
) -> None:
    await listener.until("followed")

    emulator.feed.drop()
    await listener.until("followed", 2)

    assert ["followed", "lost:lost", "followed"] == listener.calls
    assert feed.state.problem is None


async def test_a_silent_connection_is_noticed(emulator: Emulator, feed: Feed, listener: Listener) -> None:
    """contract/better.md: a silent connection is never noticed; here the idle time-out cuts it."""
    await listener.until("followed")

    emulator.feed.silence()
    await listener.until("lost:lost")
    await listener.until("followed", 2)

    assert FeedPhase.FOLLOWING is feed.state.phase


async def test_one_subscription_in_error_is_retried_and_the_others_go_on(
    emulator: Emulator, feed: Feed, listener: Listener
) -> None:
    """contract/better.md: an `error` for one subscription must not drop the socket."""
    emulator.faults.set("ws", "error", operation="usageUpdatedV2", times=2)

    await listener.until("followed")

    assert FeedPhase.FOLLOWING is feed.state.phase
    assert 1 == emulator.counters.total("ws:connection")


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("bad_key", Problem.KEY_REFUSED),
        ("throttled", Problem.THROTTLED),
        ("no_ack", Problem.LOST),
        ("silent", Problem.LOST),
        ("garbage", Problem.LOST),
        ("hang", Problem.LOST),
        ("down", Problem.LOST),
    ],
)
async def test_a_connection_that_does_not_come_about_is_named_and_healed(
    emulator: Emulator, listener: Listener, fault: str, problem: Problem
) -> None:
    emulator.faults.set("ws", fault)
    feed = a_feed(emulator, listener)
    task = asyncio.create_task(feed.run())

    await _until_phase(feed, problem)
    assert [] == listener.calls
    emulator.faults.clear()
    await listener.until("followed")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert FeedPhase.STOPPED is feed.state.phase


async def test_a_refused_key_is_tried_slowly(emulator: Emulator, listener: Listener) -> None:
    """contract/better.md: a bad key must not reconnect for ever at full speed."""
    emulator.faults.set("ws", "bad_key")
    feed = a_feed(emulator, listener, first_backoff_seconds=0.01, first_slow_backoff_seconds=60.0)
    task = asyncio.create_task(feed.run())

    await _until_phase(feed, Problem.KEY_REFUSED)
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert 1 == emulator.counters.total("ws:connection")


async def test_a_refused_upgrade_is_named(emulator: Emulator, feed: Feed) -> None:
    emulator.faults.set("ws", "status", status=429)
    emulator.feed.drop()

    await _until_phase(feed, Problem.THROTTLED)


def test_back_off_doubles_up_to_its_ceiling_and_is_jittered() -> None:
    random = Random(1)
    waits = [jittered_backoff(n, first=1.0, longest=30.0, random=random) for n in (0, 1, 2, 5, 1000)]

    for wait, full in zip(waits, [1, 2, 4, 30, 30], strict=True):
        assert full / 2 <= wait <= full
    assert len({jittered_backoff(0, first=1.0, longest=30.0, random=random) for _ in range(20)}) > 10


@asynccontextmanager
async def running(feed: Feed) -> AsyncIterator[Feed]:
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("status", ["301 Moved", "307 Go"])
async def test_a_redirect_is_not_followed(emulator: Emulator, listener: Listener, status: str) -> None:
    """The other host was connected to, and the first frame sent it the key."""
    elsewhere = an_answer(b"", f"Location: {emulator.ws_url}/graphql", status=status)
    async with Cloud(lambda _: elsewhere).listening() as cloud:
        url = cloud.url.replace("http", "ws")
        async with running(a_feed(emulator, listener, url=url)) as feed:
            await _until_phase(feed, Problem.LOST)
            while len(cloud.heads) < 2:  # noqa: ASYNC110 - the server announces nothing
                await asyncio.sleep(0.01)

    assert [] == listener.calls


async def test_it_goes_by_way_of_the_proxy(emulator: Emulator, listener: Listener) -> None:
    """And sends the proxy the name of the cloud alone."""
    port = int(emulator.ws_url.rpartition(":")[2])
    async with a_proxy(port) as (proxy, heads):
        environment = {"HTTP_PROXY": f"http://127.0.0.1:{proxy}"}
        feed = a_feed(emulator, listener, url="ws://cloud.test", environment=environment)
        async with running(feed):
            await listener.until("followed")

    assert heads[0].startswith(b"CONNECT cloud.test:80 ")
    assert emulator.api_key.encode() not in heads[0]


async def test_this_machine_is_asked_directly(
    emulator: Emulator, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the machine's own variables, which the library would read, say otherwise."""
    environment = {"ALL_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "socks5://127.0.0.1:1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    async with running(a_feed(emulator, listener, environment=environment)):
        await listener.until("followed")


async def test_a_certificate_that_is_not_trusted_is_reported_as_such(
    emulator: Emulator, listener: Listener
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with Cloud(lambda _: b"").listening(context) as cloud:
        url = f"wss://127.0.0.1:{cloud.port}"
        async with running(a_feed(emulator, listener, url=url)) as feed:
            await _until_phase(feed, Problem.UNTRUSTED)
