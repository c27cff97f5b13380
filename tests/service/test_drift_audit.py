"""A sample of what is held is compared with the cloud: drift is repaired and counted, news is not."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import pytest
from prometheus_client import REGISTRY

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate
from entitlements.domain.errors import Unreachable
from entitlements.domain.events import EntitlementsChanged, UsageChanged
from entitlements.domain.ports import Source
from entitlements.domain.reason import AccessDeniedReason
from entitlements.domain.request_budget import Taken
from entitlements.service.drift_audit import LATEST_TURN, NEWS_SECONDS, SOONEST_TURN, DriftAudit, Outcome
from tests.builders import STAMP_MS, a_boolean_feature, a_metered_feature, a_usage, an_entity
from tests.service.conftest import House

KEY = EntityKey("customer-7")
HELD = an_entity(a_boolean_feature("flag"), a_metered_feature("seats", usage=a_usage(1)))
REVOKED = an_entity(
    a_boolean_feature("flag", denied_reason=AccessDeniedReason.REVOKED),
    a_metered_feature("seats", usage=a_usage(1)),
    updated_at_ms=STAMP_MS + 1,
)
USED = an_entity(
    a_boolean_feature("flag"), a_metered_feature("seats", usage=a_usage(7, updated_at_ms=STAMP_MS + 1))
)


class Sleeps:
    """Passes the time at once; what happens meanwhile is given to it."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.seconds: list[float] = []
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._house.clock.advance(seconds)
        if self.meanwhile is not None:
            await self.meanwhile()
        await asyncio.sleep(0)


class Turns:
    """What all processes share."""

    def __init__(self, tokens: int | None) -> None:
        self.tokens = tokens
        self.asked = 0

    async def take(self, wanted: int) -> Taken | None:
        self.asked += 1
        return None if self.tokens is None else Taken(tokens=min(wanted, self.tokens), remaining=0)


@pytest.fixture
def sleeps(house: House) -> Sleeps:
    return Sleeps(house)


@pytest.fixture
async def audit(house: House, sleeps: Sleeps) -> DriftAudit:
    """Of a process that follows the feed and holds one customer."""
    house.feed_applier.followed()
    await holds(house, KEY)
    house.edge.answer = house.api.answer = HELD
    return an_audit(house, sleeps)


def an_audit(house: House, sleeps: Sleeps, *, turns: Turns | None = None, fleet_size: int = 1) -> DriftAudit:
    return DriftAudit(
        holdings=house.memory,
        fetcher=house.fetcher,
        circuits=house.circuits,
        feed=house.feed_applier,
        clock=house.clock,
        random=Random(1),
        per_minute=6,
        fleet_size=fleet_size,
        turns=turns or Turns(1),
        sleep=sleeps,
    )


async def holds(house: House, key: EntityKey, entity: Entity = HELD) -> None:
    await house.store.store(key, CachedEntity(entity=entity, confirmed_at=house.clock.monotonic()))
    house.clock.advance(1)


def counted(kind: str) -> float:
    return REGISTRY.get_sample_value("sidecar_audit_differences_total", {"kind": kind}) or 0


async def test_what_the_cloud_has_too_is_right(house: House, audit: DriftAudit, sleeps: Sleeps) -> None:
    """One request, and nothing changes."""
    before = house.memory.peek(KEY)

    assert await audit.take_turn() is Outcome.RIGHT
    assert 1.0 == audit.right_share
    assert {} == audit.differences
    assert [KEY] == house.edge.asked
    assert [] == sleeps.seconds
    assert house.memory.peek(KEY) is before


@pytest.mark.parametrize(("cloud", "kind"), [(REVOKED, "access"), (USED, "usage"), (Entity(), "extra")])
async def test_a_change_that_was_lost_is_repaired_and_counted(
    house: House, audit: DriftAudit, cloud: Entity, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    house.edge.answer = house.api.answer = cloud
    before = counted(kind)

    assert await audit.take_turn() is Outcome.DIFFERED
    found = len(HELD.features) if kind == "extra" else 1
    assert {kind: found} == audit.differences
    assert 0.0 == audit.right_share
    assert before + found == counted(kind)
    held = house.memory.peek(KEY)
    assert held is not None
    assert cloud.features == held.entity.features
    assert f"kinds={kind}: {found}" in caplog.text
    assert KEY.customer_id not in caplog.text
    assert await audit.take_turn() is Outcome.RIGHT
    assert audit.right_share == 0.5


async def test_news_that_arrives_while_the_cloud_is_asked_is_no_drift(
    house: House, audit: DriftAudit
) -> None:
    house.edge.answer = REVOKED
    house.edge.gate = asyncio.Event()
    auditing = asyncio.create_task(audit.take_turn())
    await house.edge.reached.wait()
    house.clock.advance(1)
    await house.feed_applier.apply(EntitlementsChanged(key=KEY, entity=REVOKED))
    house.edge.gate.set()

    assert await auditing is Outcome.RIGHT
    assert not audit.differences


@pytest.mark.parametrize(
    ("cloud", "event"),
    [
        (REVOKED, EntitlementsChanged(key=KEY, entity=REVOKED)),
        (REVOKED, EntitlementsChanged(key=KEY, entity=None)),
        (
            USED,
            UsageChanged(
                key=KEY, update=UsageUpdate(feature_id="seats", current=7, updated_at_ms=STAMP_MS + 1)
            ),
        ),
        (
            USED,
            UsageChanged(
                key=KEY, update=UsageUpdate(feature_id="seats", current=8, updated_at_ms=STAMP_MS + 2)
            ),
        ),
    ],
    ids=["whole", "taken away", "usage", "newer usage"],
)
async def test_news_that_arrives_a_moment_after_the_answer_is_no_drift(
    house: House, audit: DriftAudit, sleeps: Sleeps, cloud: Entity, event: EntitlementsChanged | UsageChanged
) -> None:
    """The feed may be slower than the answer: what differs is looked at again before it counts."""
    house.edge.answer = house.api.answer = cloud
    sleeps.meanwhile = lambda: house.feed_applier.apply(event)

    assert await audit.take_turn() is Outcome.OVERTAKEN
    assert [NEWS_SECONDS] == sleeps.seconds
    assert audit.right_share is None
    assert {} == audit.differences


async def test_drift_counts_also_where_other_news_arrives(
    house: House, audit: DriftAudit, sleeps: Sleeps
) -> None:
    """A meter that moves all the time does not hide that the flag was revoked."""
    house.edge.answer = house.api.answer = REVOKED
    update = UsageUpdate(feature_id="seats", current=2, updated_at_ms=STAMP_MS + 5)
    sleeps.meanwhile = lambda: house.feed_applier.apply(UsageChanged(key=KEY, update=update))

    assert await audit.take_turn() is Outcome.DIFFERED
    assert {"access": 1} == audit.differences


async def test_a_change_that_the_cloud_took_back_is_no_drift(
    house: House, audit: DriftAudit, sleeps: Sleeps
) -> None:
    house.edge.answer = house.api.answer = REVOKED

    async def take_back() -> None:
        house.edge.answer = house.api.answer = replace(HELD, updated_at_ms=STAMP_MS + 9)

    sleeps.meanwhile = take_back

    assert await audit.take_turn() is Outcome.OVERTAKEN


async def test_a_gap_in_the_feed_explains_a_difference(
    house: House, audit: DriftAudit, sleeps: Sleeps
) -> None:
    """What is suspect is checked again on its use: that is no drift."""
    house.edge.answer = house.api.answer = REVOKED

    async def gap() -> None:
        house.feed_applier.missed("test")

    sleeps.meanwhile = gap

    assert await audit.take_turn() is Outcome.OVERTAKEN
    sleeps.meanwhile = None
    assert await audit.take_turn() is None


async def test_an_edge_that_lags_is_no_drift(house: House, audit: DriftAudit) -> None:
    """It sends what was before, without a newer stamp: the API has the last word."""
    house.edge.answer = replace(REVOKED, updated_at_ms=STAMP_MS)

    assert await audit.take_turn() is Outcome.RIGHT
    assert [KEY] == house.api.asked


async def test_a_meter_that_the_answer_knows_less_of_is_no_drift(
    house: House, audit: DriftAudit, sleeps: Sleeps
) -> None:
    """The feed brought 7, the Edge still says 1: ours is newer."""
    await holds(house, KEY, USED)

    assert await audit.take_turn() is Outcome.RIGHT
    assert [] == sleeps.seconds


async def test_a_cloud_that_does_not_answer_is_no_result(house: House, audit: DriftAudit) -> None:
    house.edge.answer = house.api.answer = Unreachable("api")

    assert await audit.take_turn() is Outcome.FAILED
    assert audit.right_share is None


async def test_a_cloud_that_goes_before_the_repair(house: House, audit: DriftAudit, sleeps: Sleeps) -> None:
    house.edge.answer = house.api.answer = REVOKED

    async def go() -> None:
        house.edge.answer = house.api.answer = Unreachable("api")

    sleeps.meanwhile = go

    assert await audit.take_turn() is Outcome.FAILED
    assert not audit.differences


async def test_nothing_is_asked_while_a_circuit_is_open(house: House, audit: DriftAudit) -> None:
    while all(state.value == "closed" for state in house.circuits.states.values()):
        house.circuits.failed(Source.EDGE, Unreachable("edge"), began_at=house.clock.monotonic())

    assert await audit.take_turn() is None
    assert [] == house.edge.asked + house.api.asked


async def test_nothing_is_asked_while_changes_are_missed_or_nothing_is_held(
    house: House, sleeps: Sleeps
) -> None:
    audit = an_audit(house, sleeps)
    await holds(house, KEY)
    assert await audit.take_turn() is None  # fresh for its age alone: it may well differ
    await house.store.drop(KEY)
    house.feed_applier.followed()
    assert await audit.take_turn() is None
    await holds(house, KEY)
    house.feed_applier.lost()
    assert await audit.take_turn() is None

    assert [] == house.edge.asked


async def test_every_entity_has_its_turn(house: House, audit: DriftAudit) -> None:
    """Whoever is gone by then is left out."""
    keys = [EntityKey(f"c-{number}") for number in range(20)]
    for key in keys:
        await holds(house, key)
    await house.store.drop(KEY)
    for _ in keys:
        assert await audit.take_turn() is Outcome.RIGHT
    assert sorted(keys) == sorted(house.edge.asked)
    for key in keys[1:]:
        await house.store.drop(key)
    house.edge.asked.clear()

    for _ in range(2):
        assert await audit.take_turn() is Outcome.RIGHT
    assert keys[:1] * 2 == house.edge.asked


async def test_the_turn_is_another_process(house: House, sleeps: Sleeps, audit: DriftAudit) -> None:
    """All together audit so many; where nobody says whose turn it is, each has its share."""
    others = an_audit(house, sleeps, turns=Turns(0))
    assert await others.take_turn() is None
    alone = an_audit(house, sleeps, turns=Turns(None), fleet_size=3)
    assert await alone.take_turn() is Outcome.RIGHT
    house.clock.advance(30)
    await house.feed_applier.apply(EntitlementsChanged(key=KEY, entity=HELD))
    assert await alone.take_turn() is None
    house.clock.advance(4)

    assert await alone.take_turn() is Outcome.RIGHT


async def test_an_audit_waits_for_room_and_looks_anew(house: House, sleeps: Sleeps) -> None:
    """Callers and re-checks come first; by then there may be nothing left to audit."""
    house.feed_applier.followed()
    await holds(house, KEY)
    has_room = asyncio.Event()
    audit = an_audit(house, sleeps)
    audit._room = has_room.wait  # type: ignore[assignment]
    auditing = asyncio.create_task(audit.take_turn())
    await asyncio.sleep(0)
    assert [] == house.edge.asked
    await house.store.drop(KEY)
    has_room.set()

    assert await auditing is None
    assert [] == house.edge.asked


async def test_turns_are_spread(house: House, sleeps: Sleeps) -> None:
    """A fleet that was deployed at once does not try in step; no more are had than were asked for."""
    house.feed_applier.followed()
    await holds(house, KEY)
    house.edge.answer = HELD
    audit = an_audit(house, sleeps, turns=Turns(None))
    enough = asyncio.Event()

    async def stop() -> None:
        if len(sleeps.seconds) >= 50:
            enough.set()

    sleeps.meanwhile = stop
    running = asyncio.create_task(audit.run())
    await enough.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    interval = 66 / 6
    assert all(SOONEST_TURN * interval <= each <= LATEST_TURN * interval for each in sleeps.seconds)
    assert len(set(sleeps.seconds)) == len(sleeps.seconds)
    passed = sum(sleeps.seconds)
    assert passed / interval * 0.6 <= audit.counts["right"] <= passed / interval + 1
