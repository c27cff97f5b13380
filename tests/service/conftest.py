"""The use cases on the real tiers, with scripted sources and a clock that is told the time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random

import pytest

from entitlements.background import Background
from entitlements.cache.memory import MemoryTier
from entitlements.cache.tiers import Tiers
from entitlements.domain.entity import Entity
from entitlements.domain.ports import Source
from entitlements.fallbacks import ConfiguredRules
from entitlements.service.circuits import Circuits
from entitlements.service.fetching import Fetching, FetchLimits
from entitlements.service.following import Following
from entitlements.service.reading import Reading
from entitlements.service.rechecking import Rechecking
from entitlements.service.remembering import Remembering
from entitlements.service.reporting import Receipts, Reporting
from tests.fakes import FakeClock, ScriptedSink, ScriptedSource

LIMITS = FetchLimits(budget_seconds=10, concurrency=4, queue_size=8)


@dataclass
class House:
    """All use cases, plugged together as in production."""

    clock: FakeClock
    store: Tiers
    edge: ScriptedSource
    api: ScriptedSource
    sink: ScriptedSink
    rules: ConfiguredRules
    fetching: Fetching
    circuits: Circuits
    rechecking: Rechecking
    following: Following
    reading: Reading
    remembering: Remembering
    reporting: Reporting


def build_house(*, limits: FetchLimits = LIMITS, rules: ConfiguredRules | None = None) -> House:
    clock = FakeClock()
    memory = MemoryTier(max_size_bytes=10_000_000)
    store = Tiers(memory)
    edge = ScriptedSource(answer=Entity())
    api = ScriptedSource(answer=Entity(), source=Source.API)
    sink = ScriptedSink()
    rules = rules or ConfiguredRules({})
    circuits = Circuits([Source.EDGE, Source.API], clock=clock)
    fetching = Fetching(sources=[edge, api], circuits=circuits, store=store, clock=clock, limits=limits)
    rechecking = Rechecking(
        fetching=fetching,
        store=store,
        clock=clock,
        random=Random(1),
        refreshes_per_second=100_000,
        background=Background(clock.monotonic),
    )
    following = Following(
        store=store, fetching=fetching, rechecking=rechecking, clock=clock, max_unverified_seconds=60
    )
    reading = Reading(
        store=store, fetching=fetching, rechecking=rechecking, following=following, rules=rules, clock=clock
    )
    receipts = Receipts(store=store, fetching=fetching)
    reporting = Reporting(sink=sink, api=api, store=store, receipts=receipts, clock=clock)
    return House(
        clock=clock,
        store=store,
        edge=edge,
        api=api,
        sink=sink,
        rules=rules,
        fetching=fetching,
        circuits=circuits,
        rechecking=rechecking,
        following=following,
        reading=reading,
        remembering=Remembering(replies=memory, following=following, clock=clock),
        reporting=reporting,
    )


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        house = build_house()
        await stack.enter_async_context(house.rechecking)
        stack.push_async_callback(house.fetching.stop)
        yield house
