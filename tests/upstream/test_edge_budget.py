"""When the Edge may be asked: tokens ahead of need, priorities, pauses; by a clock that is given the time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from emulator.server import Emulator
from entitlements.background import Background
from entitlements.cache.memory import MemoryTier
from entitlements.cache.tiers import Tiers
from entitlements.domain.breaker import BreakerState
from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import BudgetSpent, Throttled
from entitlements.domain.ports import Lookup, Source
from entitlements.domain.request_budget import HOLD_SECONDS, Pace, RequestBudget, Taken
from entitlements.service.circuits import Circuits
from entitlements.service.fetcher import EntityFetcher
from entitlements.service.revalidator import Revalidator
from entitlements.service.source_chain import FetchLimits
from entitlements.upstream import edge_budget as module
from entitlements.upstream.edge import EdgeSource
from entitlements.upstream.edge_budget import MAX_BATCH, RETRY_SECONDS, EdgeBudget
from entitlements.upstream.transport import CloudTransport
from tests.builders import a_boolean_feature, an_entity
from tests.cloud_states import boolean_state
from tests.eventually import eventually
from tests.fakes import FakeClock, ScriptedSource

KEY = EntityKey("c")


@dataclass
class ScriptedFleet:
    """A FleetBudget that gives up to so many; None: it does not answer."""

    tokens: int | None
    remaining: int = 400
    wanted: list[int] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    on_take: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.answers.set()

    async def take(self, wanted: int) -> Taken | None:
        self.wanted.append(wanted)
        await self.answers.wait()
        self.on_take()
        if self.tokens is None:
            return None
        taken = min(wanted, self.tokens)
        self.tokens -= taken
        return Taken(tokens=taken, remaining=self.remaining)

    async def close(self, pause_seconds: float) -> None:
        self.pauses.append(pause_seconds)


def a_budget(
    clock: FakeClock, fleet: ScriptedFleet | None, *, per_minute: int = 5400, size: int = 1
) -> EdgeBudget:
    return EdgeBudget(
        clock=clock,
        random=Random(1),
        background=Background(clock.monotonic),
        per_minute=per_minute,
        fleet_size=size,
        fleet=fleet,
    )


async def let_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_rarely_takes_one_and_wastes_none() -> None:
    clock, fleet = FakeClock(), ScriptedFleet(10_000)
    budget = a_budget(clock, fleet)
    for _ in range(5):
        await budget.acquire()
        await let_run()
        clock.advance(10)

    assert fleet.wanted == [1] * 5


async def test_who_is_busy_has_the_next_before_it_needs_them() -> None:
    """Of a steady pace of 50 a second few wait for Redis, and few tokens are left over."""
    clock, fleet = FakeClock(), ScriptedFleet(10_000)
    budget = a_budget(clock, fleet)
    waited = 0
    for _ in range(500):
        asking = asyncio.ensure_future(budget.acquire())
        await asyncio.sleep(0)
        waited += not asking.done()
        await asking
        await let_run()
        clock.advance(0.02)

    assert waited <= 10
    assert 500 <= sum(fleet.wanted) <= 500 + 2 * MAX_BATCH
    assert max(fleet.wanted) <= MAX_BATCH


async def test_a_token_is_taken_beside_what_a_fetch_does_first() -> None:
    clock, fleet = FakeClock(), ScriptedFleet(10)
    budget = a_budget(clock, fleet)
    budget.prepare()
    budget.prepare()
    await let_run()
    asking = asyncio.ensure_future(budget.acquire())
    await asyncio.sleep(0)

    assert asking.done()
    assert fleet.wanted == [1]


async def test_an_old_token_is_not_used() -> None:
    clock, fleet = FakeClock(), ScriptedFleet(1)
    budget = a_budget(clock, fleet)
    budget.prepare()
    await let_run()
    clock.advance(HOLD_SECONDS)

    with pytest.raises(BudgetSpent):
        await budget.acquire()


async def test_a_crowd_asks_together_and_an_empty_budget_once() -> None:
    clock, fleet = FakeClock(), ScriptedFleet(30)
    budget = a_budget(clock, fleet)

    outcomes = await asyncio.gather(*(budget.acquire() for _ in range(100)), return_exceptions=True)

    assert sum(isinstance(each, BudgetSpent) for each in outcomes) == 70
    assert len(fleet.wanted) <= 5
    clock.advance(RETRY_SECONDS)
    fleet.tokens = 1
    await budget.acquire()


async def test_an_answer_that_comes_too_late_is_none() -> None:
    clock, fleet = FakeClock(), ScriptedFleet(5)
    fleet.on_take = lambda: clock.advance(HOLD_SECONDS)
    budget = a_budget(clock, fleet)

    with pytest.raises(BudgetSpent):
        await asyncio.wait_for(budget.acquire(), 5)


@pytest.mark.parametrize("fleet", [None, ScriptedFleet(None)])
async def test_without_redis_each_takes_its_share(fleet: ScriptedFleet | None) -> None:
    clock = FakeClock()
    budget = a_budget(clock, fleet, per_minute=6000, size=20)

    outcomes = await asyncio.gather(*(budget.acquire() for _ in range(100)), return_exceptions=True)

    assert outcomes.count(None) == Pace(300).burst


async def test_redis_that_answers_again_is_asked_again() -> None:
    clock, fleet = FakeClock(), ScriptedFleet(None)
    budget = a_budget(clock, fleet, per_minute=600, size=100)
    await budget.acquire()
    with pytest.raises(BudgetSpent):
        await budget.acquire()
    fleet.tokens = 100
    clock.advance(RETRY_SECONDS)

    await budget.acquire()


async def test_rechecks_leave_most_to_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    clock, fleet = FakeClock(), ScriptedFleet(1000, remaining=100)
    budget = a_budget(clock, fleet)
    recheck = asyncio.ensure_future(budget.room_for_recheck())
    await let_run()
    assert not recheck.done()

    await budget.acquire()
    assert not recheck.done()
    fleet.remaining = 350
    clock.advance(HOLD_SECONDS)
    await asyncio.wait_for(recheck, 5)


async def test_who_waits_for_room_uses_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long: a token that is taken to see what is left is given up after a second, and is gone."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    clock, fleet = FakeClock(), ScriptedFleet(1000, remaining=100)
    recheck = asyncio.ensure_future(a_budget(clock, fleet).room_for_recheck())
    for _ in range(20):
        await let_run()
        clock.advance(HOLD_SECONDS)
    assert not recheck.done()
    assert 1000 == fleet.tokens

    fleet.remaining = 400
    await asyncio.wait_for(recheck, 5)
    assert 999 == fleet.tokens


@dataclass
class OneFleet:
    """The budget of all, in this process."""

    clock: FakeClock
    budget: RequestBudget

    async def take(self, wanted: int) -> Taken | None:
        return self.budget.take(wanted, now=self.clock.monotonic())

    async def close(self, pause_seconds: float) -> None:
        raise AssertionError(pause_seconds)


@pytest.mark.parametrize(("per_minute", "size"), [(300, 4), (5400, 100)])
async def test_a_fleet_that_waits_does_not_starve_itself(
    per_minute: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage each process has more to re-check than the budget lets through, and always waits.

    Four processes of 300 a minute re-checked 1.6 a second, while 3 of 4.5 tokens were given up unused; as
    many processes as there are tokens in a second re-checked next to nothing: 82 of 3,272 in 40 s.
    """
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    clock, done = FakeClock(), 0
    fleet = OneFleet(clock, RequestBudget(Pace(per_minute)))

    async def recheck(budget: EdgeBudget) -> None:
        nonlocal done
        while True:
            await budget.room_for_recheck()
            await budget.acquire()
            done += 1

    tasks = [
        asyncio.create_task(
            recheck(
                EdgeBudget(
                    clock=clock,
                    random=Random(number),
                    background=Background(clock.monotonic),
                    per_minute=per_minute,
                    fleet_size=size,
                    fleet=fleet,
                )
            )
        )
        for number in range(size)
    ]
    for _ in range(80):
        await let_run()
        clock.advance(0.5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert done > 0.4 * 40 * per_minute / 66  # the rest is taken ahead by who is busy


async def test_audits_come_after_rechecks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a re-check has room, an audit may have to wait: 350 of 409, then 400."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    clock, fleet = FakeClock(), ScriptedFleet(1000, remaining=350)
    budget = a_budget(clock, fleet)
    audit = asyncio.ensure_future(budget.room_for_audit())
    await asyncio.wait_for(budget.room_for_recheck(), 5)
    await let_run()
    assert not audit.done()

    fleet.remaining = 400
    clock.advance(HOLD_SECONDS)
    await asyncio.wait_for(audit, 5)


async def test_an_empty_budget_sends_a_miss_to_the_api_and_holds_a_recheck_back(
    emulator: Emulator, http_client: CloudTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the circuit of the Edge stays closed: nothing is wrong with it."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    emulator.state.put("c", boolean_state(), push=False)
    clock, fleet = FakeClock(), ScriptedFleet(0, remaining=0)
    budget = a_budget(clock, fleet)
    edge = EdgeSource(http_client, base_url=emulator.edge_url, clock=clock, budget=budget)
    api = ScriptedSource(answer=an_entity(a_boolean_feature()), source=Source.API)
    circuits = Circuits([Source.EDGE, Source.API], clock=clock)
    store = Tiers(MemoryTier(max_size_bytes=1_000_000))
    fetcher = EntityFetcher(
        sources=[edge, api],
        circuits=circuits,
        store=store,
        clock=clock,
        limits=FetchLimits(budget_seconds=5, concurrency=4, queue_size=4),
        prepare=budget.prepare,
    )
    for number in range(5):
        fetched = await fetcher.fetch(EntityKey(f"c{number}"))
        assert isinstance(fetched, Lookup)
        assert fetched.source is Source.API
    assert emulator.counters.total("edge") == 0
    assert circuits.states[Source.EDGE] is BreakerState.CLOSED

    background = Background(clock.monotonic)
    async with Revalidator(
        fetcher=fetcher,
        store=store,
        clock=clock,
        random=Random(1),
        refreshes_per_second=1000,
        background=background,
        room=budget.room_for_recheck,
    ) as revalidator:
        revalidator.recheck(KEY)
        await asyncio.sleep(0.05)
        assert revalidator.waiting == 1
        assert KEY not in api.asked

        fleet.tokens, fleet.remaining = 1000, 400
        clock.advance(1)
        await eventually(lambda: emulator.counters.total("edge"))
    assert KEY not in api.asked


async def test_a_429_closes_the_tap_for_all_once(emulator: Emulator, http_client: CloudTransport) -> None:
    emulator.faults.set("edge", "status", status=429)
    clock, fleet = FakeClock(), ScriptedFleet(100)
    budget = a_budget(clock, fleet)
    edge = EdgeSource(http_client, base_url=emulator.edge_url, clock=clock, budget=budget)

    outcomes = await asyncio.gather(
        *(edge.fetch(KEY, budget_seconds=5) for _ in range(3)), return_exceptions=True
    )

    assert all(isinstance(each, Throttled | BudgetSpent) for each in outcomes)
    assert len(fleet.pauses) == 1
    assert budget.is_closed
    assert module.SOONEST_PAUSE_SECONDS <= fleet.pauses[0] <= module.LATEST_PAUSE_SECONDS
    with pytest.raises(BudgetSpent):
        await budget.acquire()


def test_the_own_share_is_closed_too() -> None:
    own = RequestBudget(Pace(600))
    own.close(5, now=0)

    assert own.take(1, now=1).tokens == 0
