"""Messages of other processes, handed to those who wait on the event loop."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from entitlements.redis import notifications as notifications_module
from entitlements.redis.connection import RedisConnection
from entitlements.redis.notifications import Notifications
from tests.eventually import eventually
from tests.harness import CALL_SECONDS
from tests.redis.parts import a_connection
from tests.redis_server import RedisServer


async def subscribed(redis: RedisServer) -> None:
    """Waits until somebody listens."""
    await eventually(lambda: redis.command("PUBSUB", "NUMPAT"))


@pytest.fixture
async def notifications(redis: RedisServer, connection: RedisConnection) -> AsyncIterator[Notifications]:
    notifications = Notifications(connection, pattern="news:*")
    notifications.start()
    await subscribed(redis)
    yield notifications
    notifications.stop()


async def test_a_message_reaches_all_who_wait_on_its_channel(
    redis: RedisServer, notifications: Notifications
) -> None:
    with notifications.listening("news:a") as first, notifications.listening("news:a") as second:
        redis.command("PUBLISH", "news:a", "1")
        redis.command("PUBLISH", "news:a", "2")

        async with asyncio.timeout(CALL_SECONDS):
            assert await first == b"1"
            assert await second == b"1"


async def test_a_message_on_another_channel_reaches_nobody(
    redis: RedisServer, notifications: Notifications
) -> None:
    with notifications.listening("news:a") as announced:
        redis.command("PUBLISH", "news:b", "1")
        redis.command("PUBLISH", "other:a", "1")
        redis.command("PUBLISH", "news:a", "2")

        async with asyncio.timeout(CALL_SECONDS):
            assert await announced == b"2"


async def test_who_waits_no_more_is_forgotten(redis: RedisServer, notifications: Notifications) -> None:
    with notifications.listening("news:a") as announced:
        pass

    redis.command("PUBLISH", "news:a", "1")
    await asyncio.sleep(0.05)

    assert announced.cancelled()
    assert not notifications._waiting


async def test_a_redis_that_comes_back_is_listened_to_again(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications_module, "PAUSE_SECONDS", 0.05)
    connection = a_connection(own_redis.url)
    notifications = Notifications(connection, pattern="news:*")
    notifications.start()
    await subscribed(own_redis)
    own_redis.stop()
    await asyncio.sleep(0.2)

    own_redis.start()
    await subscribed(own_redis)
    with notifications.listening("news:a") as announced:
        own_redis.command("PUBLISH", "news:a", "1")
        async with asyncio.timeout(CALL_SECONDS):
            assert await announced == b"1"

    notifications.stop()
    connection.stop()


async def test_whatever_a_connection_does_the_thread_goes_on(
    redis: RedisServer, connection: RedisConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that another thread closes under a read fails in ways of its own."""
    monkeypatch.setattr(notifications_module, "PAUSE_SECONDS", 0.05)
    faults = [AttributeError("no socket"), ValueError("closed file"), ConnectionResetError()]
    pubsub = connection.client.pubsub

    def faulty(**options: bool) -> object:
        if faults:
            raise faults.pop()
        return pubsub(**options)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(connection.client, "pubsub", faulty)
    notifications = Notifications(connection, pattern="news:*")
    notifications.start()

    await subscribed(redis)

    notifications.stop()


async def test_it_can_be_stopped_twice_and_without_a_start(connection: RedisConnection) -> None:
    notifications = Notifications(connection, pattern="news:*")
    notifications.stop()
    notifications.stop()

    with notifications.listening("news:a") as announced:
        assert not announced.done()
