"""A Redis process, and parts of ours that speak to it."""

import os
from collections.abc import Iterator

import pytest
from django.conf import settings

from entitlements.cache.redis import RedisTier
from entitlements.redis.connection import RedisConnection
from tests.redis.parts import ShiftedClock, a_connection, a_tier
from tests.redis_server import RedisServer

if "DJANGO_SETTINGS_MODULE" not in os.environ and not settings.configured:
    settings.configure()  # django-redis looks a default up, also where these tests run without a project


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(shared_redis: RedisServer, unhurried: None) -> RedisServer:
    """A Redis that is empty, and that a test leaves running."""
    shared_redis.command("FLUSHALL")
    return shared_redis


@pytest.fixture
def own_redis(unhurried: None) -> Iterator[RedisServer]:
    """A Redis that a test may kill; one that it stops in its tracks is given up soon within `hurried`."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
def connection(redis: RedisServer, clock: ShiftedClock) -> Iterator[RedisConnection]:
    connection = a_connection(redis.url, clock=clock)
    connection.client.ping()  # a busy machine may take longer to dial than a call may last
    yield connection
    connection.stop()


@pytest.fixture
def tier(connection: RedisConnection, clock: ShiftedClock) -> RedisTier:
    return a_tier(connection, clock=clock)
