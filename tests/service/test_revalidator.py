"""Background re-checks: each suspect once, in turn, within a rate."""

import asyncio
from random import Random

import pytest
from prometheus_client import REGISTRY

from entitlements.background import Background
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import Unreachable
from entitlements.domain.gap import SPREAD_SECONDS, Gap
from entitlements.service import revalidator as module
from entitlements.service.revalidator import Revalidator
from tests.builders import an_entity
from tests.eventually import eventually
from tests.service.conftest import House, build_house

KEY = EntityKey("customer-1")


async def test_suspect_is_asked_for_once_however_often_it_is_named(house: House) -> None:
    """A hundred reads of one suspect are one re-check."""
    for _ in range(100):
        assert house.revalidator.recheck_suspect(KEY)

    await house.edge.reached.wait()

    assert house.edge.asked == [KEY]
    assert house.revalidator.waiting == 0


async def test_failed_recheck_is_noted_on_the_entity(house: House) -> None:
    """It stays, and is stale."""
    await house.store.store(KEY, CachedEntity(entity=an_entity(), confirmed_at=0))
    house.edge.answer = house.api.answer = Unreachable("edge")

    house.revalidator.recheck(KEY)
    await eventually(lambda: (held := house.store.get(KEY)) and held.failed_at is not None)

    held = house.store.get(KEY)
    assert held is not None
    assert held.failed_at == house.clock.monotonic()
    assert held.entity == an_entity()


async def test_rechecks_keep_to_their_rate() -> None:
    """Two re-checks a second: the second of three waits for its turn."""
    house = build_house()
    slow = Revalidator(
        fetcher=house.fetcher,
        store=house.store,
        clock=house.clock,
        random=Random(1),
        refreshes_per_second=0.001,
        background=Background(house.clock.monotonic),
    )
    async with slow:
        for number in range(3):
            slow.recheck(EntityKey(f"customer-{number}"))
        await house.edge.reached.wait()

        assert len(house.edge.asked) == 1
        assert slow.waiting == 2


async def test_too_many_suspects_are_counted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue of suspects is bounded; what does not fit is reported and counted."""
    monkeypatch.setattr(module, "MAX_SUSPECTS_WAITING", 1)
    before = REGISTRY.get_sample_value("sidecar_rechecks_total", {"outcome": "dropped"}) or 0

    accepted = [house.revalidator.recheck(EntityKey(f"customer-{number}")) for number in (1, 1, 2)]

    assert [True, True, False] == accepted
    assert REGISTRY.get_sample_value("sidecar_rechecks_total", {"outcome": "dropped"}) == before + 1


async def test_suspect_may_be_named_by_any_thread(house: House) -> None:
    """The transport's thread finds suspects too; the loop wakes and asks."""
    assert await asyncio.to_thread(house.revalidator.recheck_suspect, KEY)

    await asyncio.wait_for(house.edge.reached.wait(), 5)
    assert house.edge.asked == [KEY]


MANY = [EntityKey(f"customer-{number}") for number in range(60)]


class Outages:
    """The gap that was last, as a test says; the house's re-checks are spread out after it."""

    def __init__(self, house: House) -> None:
        self._house = house
        now = house.clock.monotonic()
        self.last = Gap(now - 600, now)
        house.revalidator._last_gap = lambda: self.last

    async def passed(self, seconds: float) -> int:
        """How many entities the cloud was asked about until then."""
        self._house.clock.advance(seconds)
        revalidator, now = self._house.revalidator, self._house.clock.monotonic()
        revalidator._arrived.set()  # it waits for real time
        await eventually(lambda: all(turn.due_at > now for turn in revalidator._turns.values()))
        await eventually(lambda: len(revalidator._tasks) == 1)
        return len(self._house.edge.asked)


@pytest.fixture
def outages(house: House) -> Outages:
    return Outages(house)


def _outcomes(outcome: str) -> float:
    return REGISTRY.get_sample_value("sidecar_rechecks_total", {"outcome": outcome}) or 0


async def test_after_an_outage_suspects_have_turns_drawn_by_lot(house: House, outages: Outages) -> None:
    """Over the whole minute; one that would have had its turn before it was found suspect has it at once."""
    lots = Random(1)
    due = sorted(lots.random() * SPREAD_SECONDS for _ in MANY)
    spread = REGISTRY.get_sample_value("sidecar_rechecks_spread_total") or 0
    for key in MANY:
        house.revalidator.recheck_suspect(key)
    spread_seconds = [house.revalidator.spread_seconds]

    asked = [await outages.passed(10) for _ in range(6)]
    house.revalidator.recheck_suspect(KEY)
    spread_seconds.append(house.revalidator.spread_seconds)

    assert [sum(each <= until for each in due) for until in (10, 20, 30, 40, 50, 60)] == asked
    assert len(MANY) + 1 == await outages.passed(0)
    assert spread + len(MANY) == REGISTRY.get_sample_value("sidecar_rechecks_spread_total")
    assert [SPREAD_SECONDS, 0] == spread_seconds


async def test_late_in_the_minute_most_have_their_turn_at_once(house: House, outages: Outages) -> None:
    house.clock.advance(45)
    for key in MANY:
        house.revalidator.recheck_suspect(key)

    assert 35 <= await outages.passed(0) <= 55


async def test_what_waits_as_an_outage_ends_gets_another_turn(house: House, outages: Outages) -> None:
    """Else all processes would go on at once with what they could not do while it lasted."""
    house.clock.advance(61)
    for key in MANY:
        house.revalidator.recheck_suspect(key)
    now = house.clock.monotonic()
    outages.last = Gap(now - 600, now)

    asked = [await outages.passed(seconds) for seconds in (1, 59)]

    assert asked[0] < 10
    assert len(MANY) == asked[1]


async def test_news_wait_for_no_outage(house: House, outages: Outages) -> None:
    """Nor does what waits as suspect, once it has changed."""
    assert house.revalidator.recheck_suspect(MANY[0])
    assert house.revalidator.recheck(MANY[1])
    assert 1 == await outages.passed(0)

    assert house.revalidator.recheck(MANY[0])
    assert house.revalidator.recheck(MANY[0])
    await outages.passed(0)

    assert [MANY[1], MANY[0]] == house.edge.asked
    assert 2 == await outages.passed(60)


async def test_what_a_caller_had_fetched_needs_no_turn(house: House, outages: Outages) -> None:
    """The caller waits for no turn; and what was confirmed by anybody is not asked for again."""
    before = _outcomes("unneeded")
    house.revalidator.recheck_suspect(KEY)
    house.clock.advance(1)
    await house.fetcher.fetch(KEY)

    assert 1 == await outages.passed(60)
    assert before + 1 == _outcomes("unneeded")
