"""Any interleaving of fetches, events, gaps and reads ends with what the cloud holds."""

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from hypothesis import given, settings
from hypothesis import strategies as st

from entitlements.domain.decision import Query
from entitlements.domain.entitlement import MeteredEntitlement
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate
from entitlements.domain.events import EntitlementsChanged, FeedEvent, PackagePublished, UsageChanged
from entitlements.domain.ports import Source
from entitlements.domain.reason import AccessDeniedReason
from entitlements.service.reader import RECHECK_INTERVAL_SECONDS
from tests.builders import a_metered_feature, a_usage, an_entity
from tests.service.conftest import House, build_house

KEY = EntityKey("customer-1")
GONE = Entity(denied_reason=AccessDeniedReason.CUSTOMER_NOT_FOUND)
TURNS_TO_SETTLE = 10
"""Turns of the loop in which everything has gone on that can go on without a gate."""


@dataclass
class Cloud:
    """What is true, a feed that sends it, and fetches that are answered as of when they were asked."""

    house: House
    source: Source = Source.EDGE
    held: dict[EntityKey, Entity] = field(default_factory=dict)
    stamp: int = 10
    untold: deque[FeedEvent] = field(default_factory=deque)
    gates: deque[asyncio.Event] = field(default_factory=deque)
    is_connected: bool = False

    async def fetch(self, key: EntityKey, *, budget_seconds: float) -> Entity:
        assert budget_seconds > 0
        answer = self.held.get(key, GONE)
        gate = asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        return answer

    def change_entitlements(self) -> None:
        usage = a_usage(0, updated_at_ms=self._tick())
        held = self.held.get(KEY)
        if held is not None:
            usage = held.features["f"].usage  # type: ignore[union-attr]
        stamp = self._tick()
        entity = an_entity(a_metered_feature("f", limit=stamp, usage=usage), updated_at_ms=stamp)
        self.held[KEY] = entity
        self._send(EntitlementsChanged(key=KEY, entity=entity))

    def move_usage(self) -> None:
        held = self.held.get(KEY)
        if held is None:
            return
        stamp = self._tick()
        update = UsageUpdate(feature_id="f", current=stamp, updated_at_ms=stamp)
        metered = a_metered_feature("f", limit=_limit(held), usage=a_usage(stamp, updated_at_ms=stamp))
        self.held[KEY] = replace(held, features=MappingProxyType({"f": metered}))
        self._send(UsageChanged(key=KEY, update=update))

    def remove(self) -> None:
        if self.held.pop(KEY, None) is not None:
            self._send(EntitlementsChanged(key=KEY, entity=None))

    def publish(self) -> None:
        self._send(PackagePublished(affects_all_customers=True))

    async def deliver(self) -> None:
        if self.untold:
            await self.house.feed_applier.apply(self.untold.popleft())

    def lose_one(self) -> None:
        if self.untold:
            self.untold.popleft()
            self.house.feed_applier.missed("test")

    def cut(self) -> None:
        self.is_connected = False
        self.untold.clear()
        self.house.feed_applier.lost()

    def connect(self) -> None:
        if not self.is_connected:
            self.is_connected = True
            self.house.feed_applier.followed()

    def land(self) -> None:
        if self.gates:
            self.gates.popleft().set()

    def pass_time(self) -> None:
        self.house.clock.advance(RECHECK_INTERVAL_SECONDS)

    def _send(self, event: FeedEvent) -> None:
        if self.is_connected:
            self.untold.append(event)

    def _tick(self) -> int:
        self.stamp += 1
        return self.stamp


def _limit(entity: Entity) -> float | None:
    metered = entity.features["f"]
    assert isinstance(metered, MeteredEntitlement)
    return metered.usage_limit


ACTIONS = (
    "change_entitlements",
    "move_usage",
    "remove",
    "publish",
    "deliver",
    "lose_one",
    "cut",
    "connect",
    "land",
    "pass_time",
    "read",
)


@given(st.lists(st.sampled_from(ACTIONS), max_size=40))
@settings(max_examples=500, deadline=None)
def test_any_interleaving_ends_with_what_the_cloud_holds(steps: list[str]) -> None:
    """However events and answers cross, the reads that follow the quiet show the truth."""
    asyncio.run(_run(steps))


async def _run(steps: list[str]) -> None:
    house = build_house()
    cloud = Cloud(house)
    cloud.connect()
    house.edge.fetch = house.api.fetch = cloud.fetch  # type: ignore[method-assign]
    async with house.revalidator:
        reads: list[asyncio.Task[object]] = []
        for action in steps:
            house.clock.advance(0.001)
            if action == "read":
                reads.append(asyncio.create_task(house.reader.check(Query(key=KEY, feature_id="f"))))
            else:
                outcome = getattr(cloud, action)()
                if outcome is not None:
                    await outcome
            await _take_turns()
        await _quieten(house, cloud)
        await asyncio.gather(*reads)
        assert cloud.held.get(KEY, GONE) == await _read_twice(house, cloud)


async def _quieten(house: House, cloud: Cloud) -> None:
    cloud.connect()
    while cloud.untold:
        await cloud.deliver()
    await _settle(house, cloud)


async def _read_twice(house: House, cloud: Cloud) -> Entity | None:
    """What two reads leave: the first may start a re-check, the second sees its outcome."""
    for _ in range(2):
        house.clock.advance(RECHECK_INTERVAL_SECONDS)
        read = asyncio.create_task(house.reader.check(Query(key=KEY, feature_id="f")))
        await _settle(house, cloud)
        await read
    cached = house.store.get(KEY)
    return None if cached is None else cached.entity


async def _take_turns() -> None:
    for _ in range(TURNS_TO_SETTLE):
        await asyncio.sleep(0)


async def _settle(house: House, cloud: Cloud) -> None:
    while True:
        await _take_turns()
        if not cloud.gates and not house.revalidator.waiting:
            return
        while cloud.gates:
            cloud.gates.popleft().set()
        await asyncio.sleep(0.001)
