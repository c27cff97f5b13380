"""Many sidecars start together on an empty Redis, and all are asked about the same customers.

`FLEET_START=20x3000 pytest tests/chaos/test_fleet_start.py -s` has twenty and 3,000; without it they are few.
All are whole graphs in this process, with a Redis and an emulator of their own.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from emulator.server import Emulator
from entitlements.composition import Sidecar, build
from entitlements.config import load
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.decision import Query
from entitlements.domain.entity import EntityKey
from entitlements.domain.request_budget import HOLD_SECONDS, MINUTE_SECONDS, Pace
from entitlements.redis import patience
from entitlements.redis.address import RedisAddress, cache_settings
from entitlements.service import fetcher
from entitlements.upstream.edge_budget import RECHECKS_SHARE
from entitlements.upstream.payloads import entity_from_state
from tests.cloud_states import boolean_state
from tests.harness import environment_for
from tests.redis_server import RedisServer

SIDECARS, CUSTOMERS = (int(each) for each in os.environ.get("FLEET_START", "4x150").split("x"))
PER_MINUTE = 600
ASKING_AT_A_TIME = 4
"""Callers of each sidecar."""
PATIENCE_SECONDS = 60.0
"""So long each waits for Redis, and for another that fetches: a busy machine must not decide the outcome."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LEAST_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(patience, "MOST_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(fetcher, "TURN_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def redis(settings: Any) -> Iterator[RedisServer]:
    with RedisServer() as redis:
        address = RedisAddress(host="127.0.0.1", port=redis.port)
        settings.REDIS_ADDRESS = address
        settings.CACHES = {**settings.CACHES, "redis": cache_settings(address)}
        settings.REDIS_ADDRESS = address
        yield redis


@pytest.fixture
async def fleet(redis: RedisServer, emulator: Emulator, tmp_path: Path) -> AsyncIterator[list[Sidecar]]:
    variables = {
        "REDIS_ENVIRONMENT_PREFIX": "p",
        "REDIS_PORT": str(redis.port),
        "SIDECAR_OUTBOX": "off",
        "SIDECAR_EDGE_REQUESTS_PER_MINUTE": str(PER_MINUTE),
        "SIDECAR_FETCH_BUDGET_SECONDS": str(PATIENCE_SECONDS * 3),
    }
    async with AsyncExitStack() as stack:
        fleet = []
        for _ in range(SIDECARS):
            built = build(load(environment_for(emulator, tmp_path, **variables)).config)
            assert built.redis is not None
            stack.push_async_callback(built.http_client.aclose)
            stack.push_async_callback(built.background.stop)
            assert built.invalidation is not None
            await stack.enter_async_context(built.redis.running(built.background, built.invalidation))
            fleet.append(built)
        yield fleet


async def ask(sidecar: Sidecar, customers: Sequence[str]) -> int:
    """How many are granted, with a few callers at a time, each customer once."""
    waiting = iter(customers)

    async def call() -> int:
        granted = 0
        for customer in waiting:
            answer = await sidecar.reader.check(Query(key=EntityKey(customer), feature_id="f"))
            granted += answer.decision.has_access
        return granted

    return sum(await asyncio.gather(*(call() for _ in range(ASKING_AT_A_TIME))))


def most_in_a_minute(moments_ms: Sequence[int]) -> int:
    """The fullest of all minutes that begin with a request."""
    minute_ms = MINUTE_SECONDS * 1000
    ends = [sum(begin <= each < begin + minute_ms for each in moments_ms) for begin in moments_ms]
    return max(ends, default=0)


async def test_each_customer_is_fetched_once_or_twice_and_within_the_budget(
    fleet: list[Sidecar], emulator: Emulator
) -> None:
    customers = [f"customer-{number}" for number in range(CUSTOMERS)]
    for customer in customers:
        emulator.state.put(customer, boolean_state(), push=False)
    began_at = time.monotonic()

    granted = await asyncio.gather(*(ask(each, customers) for each in fleet))

    took_seconds = time.monotonic() - began_at
    fetches = Counter(emulator.counters.fetches(customer) for customer in customers)
    at_ms = [each.at_ms for each in emulator.counters.requests if each.kind == "edge"]
    fullest = most_in_a_minute(at_ms)
    reported = (
        f"customers by fetches {dict(fetches)}, to the Edge {len(at_ms)}, in its fullest minute {fullest}"
    )
    sys.stdout.write(f"{SIDECARS} sidecars, {CUSTOMERS} customers, {took_seconds:.1f} s: {reported}\n")
    pace = Pace(PER_MINUTE)
    assert [CUSTOMERS] * SIDECARS == granted
    assert set(fetches) <= {1, 2}
    assert fullest <= PER_MINUTE
    assert len(at_ms) <= pace.burst + (took_seconds + HOLD_SECONDS) / pace.interval_seconds + 1
    assert len(at_ms) >= min(CUSTOMERS, pace.burst)


def _instead(new: CachedEntity, _: CachedEntity | None) -> CachedEntity:
    return new


HERD = 26
"""So many re-checks are watched."""


async def test_what_is_suspect_everywhere_at_once_is_no_herd(
    fleet: list[Sidecar], emulator: Emulator
) -> None:
    """An outage ended: all are answered at once, re-checks keep the pace, and who is new comes first."""
    customers = [f"customer-{number}" for number in range(100)]
    for customer in (*customers, "new"):
        emulator.state.put(customer, boolean_state(), push=False)
    known = entity_from_state(boolean_state(), now_ms=0)
    for sidecar in fleet:
        for customer in customers:
            held = CachedEntity(entity=known, confirmed_at=sidecar.clock.monotonic() - 10)
            sidecar.memory.update(EntityKey(customer), partial(_instead, held))
        sidecar.feed_applier.missed("an outage")
    async with AsyncExitStack() as stack:
        for sidecar in fleet:
            await stack.enter_async_context(sidecar.revalidator)
        began_at = time.monotonic()
        assert all(each.revalidator.spread_seconds > 0 for each in fleet)
        assert [100] * SIDECARS == await asyncio.gather(*(ask(each, customers) for each in fleet))
        assert sum(each.revalidator.waiting for each in fleet) > 0
        await emulator.counters.reached("edge", HERD // 2, timeout_seconds=PATIENCE_SECONDS)
        assert await ask(fleet[0], ["new"]) == 1
        await emulator.counters.reached("edge", HERD, timeout_seconds=PATIENCE_SECONDS)
        asked, took_seconds = emulator.counters.total("edge"), time.monotonic() - began_at

    pace = Pace(PER_MINUTE)
    at_once = pace.burst * (1 - RECHECKS_SHARE) + SIDECARS + 1
    assert asked <= at_once + took_seconds / pace.interval_seconds
    assert emulator.counters.of_customer("new", "edge") == 1
    assert emulator.counters.fetches() == emulator.counters.total("edge")
