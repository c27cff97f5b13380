"""One fetch per entity, one budget, Edge then API."""

import asyncio
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import dataclass

import pytest

from entitlements.cache.memory import MemoryTier
from entitlements.cache.tiers import Miss, Shared, Tiers
from entitlements.correlation import CALL_PEER
from entitlements.domain.breaker import FAILURES_TO_OPEN, FIRST_PAUSE_SECONDS, BreakerState
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import EntityKey, UsageUpdate
from entitlements.domain.errors import (
    CircuitOpen,
    Garbled,
    KeyRefused,
    Offline,
    Overloaded,
    Rejected,
    Throttled,
    Unreachable,
    UpstreamError,
)
from entitlements.domain.freshness import NEVER
from entitlements.domain.ports import FetchClaim, FetchCoordinator, FetchLockOutcome, Look, Lookup, Source
from entitlements.service import fetcher as fetching_module
from entitlements.service.circuits import KEY_REFUSED_PAUSE_SECONDS, PROBE_BUDGET_SECONDS, Circuits
from entitlements.service.fetcher import (
    TURN_SECONDS,
    TURN_SHARE,
    EntityFetcher,
)
from entitlements.service.flight import NotFetched
from entitlements.service.source_chain import FIRST_SOURCE_SHARE, FetchLimits
from tests.builders import a_boolean_feature, a_metered_feature, a_usage, an_entity
from tests.eventually import eventually
from tests.fakes import FakeClock
from tests.service.conftest import LIMITS, House, build_house

KEY = EntityKey("customer-1")


async def test_answer_of_the_edge_is_kept(house: House) -> None:
    """What the Edge answers is merged into the tiers and returned."""
    house.edge.answer = an_entity(a_boolean_feature())

    fetched = await house.fetcher.fetch(KEY)

    assert Lookup(key=KEY, cached=house.store.get(KEY), source=Source.EDGE) == fetched  # type: ignore[arg-type]
    assert not house.api.asked


async def test_waiting_callers_share_one_fetch(house: House) -> None:
    """However many wait for an entity, the cloud is asked once."""
    house.edge.gate = asyncio.Event()
    callers = [asyncio.create_task(house.fetcher.fetch(KEY)) for _ in range(200)]
    await house.edge.reached.wait()
    assert house.fetcher.is_fetching(KEY)
    house.edge.gate.set()

    answers = await asyncio.gather(*callers)

    assert len(house.edge.asked) == 1
    assert all(isinstance(answer, Lookup) for answer in answers)
    assert not house.fetcher.is_fetching(KEY)


async def test_caller_that_leaves_does_not_end_the_fetch(house: House) -> None:
    """A cancelled caller leaves the fetch to the others."""
    house.edge.gate = asyncio.Event()
    leaving = asyncio.create_task(house.fetcher.fetch(KEY))
    staying = asyncio.create_task(house.fetcher.fetch(KEY))
    await house.edge.reached.wait()

    leaving.cancel()
    house.edge.gate.set()

    assert isinstance(await staying, Lookup)
    assert len(house.edge.asked) == 1


async def test_fetch_that_nobody_waits_for_ends(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had its time to come to an end; whoever comes after that begins another."""
    monkeypatch.setattr(fetching_module, "LONELY_SECONDS", 0.0)
    house.edge.gate = asyncio.Event()
    leaving = asyncio.create_task(house.fetcher.fetch(KEY))
    await house.edge.reached.wait()

    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await eventually(lambda: not house.fetcher.is_fetching(KEY))
    house.edge.gate.set()

    assert isinstance(await house.fetcher.fetch(KEY), Lookup)
    assert len(house.edge.asked) == 2


async def test_fetch_that_is_nearly_done_ends_well_though_nobody_waits(house: House) -> None:
    house.edge.gate = asyncio.Event()
    leaving = asyncio.create_task(house.fetcher.fetch(KEY))
    await house.edge.reached.wait()

    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    house.edge.gate.set()
    joined = await house.fetcher.fetch(KEY)

    assert isinstance(joined, Lookup)
    assert len(house.edge.asked) == 1


async def test_waiting_for_a_slot_is_no_part_of_the_budget() -> None:
    """A crowd of our own is no failure of the cloud: who waited has the whole time to ask."""
    house = build_house(limits=FetchLimits(budget_seconds=10, concurrency=1, queue_size=1))
    house.edge.gate = asyncio.Event()
    first = asyncio.create_task(house.fetcher.fetch(EntityKey("first")))
    await house.edge.reached.wait()
    second = asyncio.create_task(house.fetcher.fetch(KEY))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    house.clock.advance(9)
    house.edge.gate.set()
    await first

    assert isinstance(await second, Lookup)
    assert house.edge.budgets == [10 * FIRST_SOURCE_SHARE] * 2


async def test_hanging_cloud_makes_nobody_wait_longer_than_the_budget() -> None:
    """Who had no slot meanwhile is not given another budget: nothing says that it would help."""
    house = build_house(limits=FetchLimits(budget_seconds=10, concurrency=1, queue_size=1))
    house.edge.answer = house.api.answer = Unreachable("edge")
    house.edge.gate = asyncio.Event()
    first = asyncio.create_task(house.fetcher.fetch(EntityKey("first")))
    await house.edge.reached.wait()
    second = asyncio.create_task(house.fetcher.fetch(KEY))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    house.clock.advance(10)
    house.edge.gate.set()

    assert all(isinstance(each, NotFetched) for each in await asyncio.gather(first, second))
    assert len(house.edge.asked) == 1


async def test_api_answers_within_the_budget_when_the_edge_fails(house: House) -> None:
    """Edge fails, GraphQL works: the fetch falls over within the same budget."""
    house.edge.answer = Unreachable("edge")

    fetched = await house.fetcher.fetch(KEY)

    assert isinstance(fetched, Lookup)
    assert fetched.source is Source.API
    assert house.edge.budgets == [LIMITS.budget_seconds * FIRST_SOURCE_SHARE]
    assert house.api.budgets == [LIMITS.budget_seconds]


async def test_last_failure_is_reported_when_all_fail(house: House) -> None:
    """A failure is a value: the last source's."""
    house.edge.answer = Unreachable("edge")
    refused = KeyRefused("api")
    house.api.answer = refused

    assert NotFetched(error=refused) == await house.fetcher.fetch(KEY)


async def test_circuit_opens_after_failures_in_a_row(house: House) -> None:
    """In an outage uncached callers cost the cloud nothing, and themselves no time-out."""
    await _fail(house, Unreachable("edge"), Garbled("api"))

    answer = await house.fetcher.fetch(KEY)

    assert isinstance(answer, NotFetched)
    assert isinstance(answer.error, CircuitOpen)
    assert len(house.edge.asked) == FAILURES_TO_OPEN
    assert set(house.circuits.states.values()) == {BreakerState.OPEN}


async def test_open_circuit_heals_by_itself(house: House) -> None:
    """After its pause the next fetch probes, with a small budget, and closes the circuit."""
    await _fail(house, Unreachable("edge"), Unreachable("api"))
    house.edge.answer = an_entity()
    house.clock.advance(FIRST_PAUSE_SECONDS)

    fetched = await house.fetcher.fetch(KEY)

    assert isinstance(fetched, Lookup)
    assert house.edge.budgets[-1] == PROBE_BUDGET_SECONDS
    assert house.circuits.states[Source.EDGE] is BreakerState.CLOSED


async def test_refused_key_pauses_at_once(house: House) -> None:
    """A refused key is not tried with every customer, but again after a pause."""
    house.edge.answer = KeyRefused("edge")
    house.api.answer = KeyRefused("api")
    await house.fetcher.fetch(KEY)
    await house.fetcher.fetch(EntityKey("customer-2"))
    assert house.edge.asked == [KEY]

    house.clock.advance(KEY_REFUSED_PAUSE_SECONDS)
    await house.fetcher.fetch(KEY)

    assert house.edge.asked == [KEY, KEY]


@pytest.mark.parametrize(("pause_asked_for", "pause"), [(7.0, 7.0), (None, 2.0)])
async def test_throttled_source_is_left_alone_as_long_as_it_asks(
    house: House, pause_asked_for: float | None, pause: float
) -> None:
    """429 for several customers is about the key: Retry-After is honoured; without one, a short pause."""
    await _fail(house, Throttled("edge", retry_after_seconds=pause_asked_for), Unreachable("api"))
    house.clock.advance(pause - 0.01)
    await house.fetcher.fetch(EntityKey("another"))
    assert len(house.edge.asked) == FAILURES_TO_OPEN

    house.clock.advance(0.02)
    await house.fetcher.fetch(EntityKey("a third"))

    assert len(house.edge.asked) == FAILURES_TO_OPEN + 1


@pytest.mark.parametrize("answer", [Rejected("edge", code="X"), Offline("edge")])
async def test_source_that_says_no_is_not_broken(house: House, answer: UpstreamError) -> None:
    """A no is an answer: the circuit stays closed."""
    await _fail(house, answer, answer)

    assert set(house.circuits.states.values()) == {BreakerState.CLOSED}


async def test_full_queue_is_overload_not_a_wait() -> None:
    """Fetches that wait are bounded; one more is reported at once."""
    house = build_house(limits=FetchLimits(budget_seconds=10, concurrency=1, queue_size=1))
    house.edge.gate = asyncio.Event()
    flying = asyncio.create_task(house.fetcher.fetch(KEY))
    await house.edge.reached.wait()
    queued = asyncio.create_task(house.fetcher.fetch(EntityKey("customer-2")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    answer = await house.fetcher.fetch(EntityKey("customer-3"))

    assert isinstance(answer, NotFetched)
    assert isinstance(answer.error, Overloaded)
    house.edge.gate.set()
    assert isinstance(await flying, Lookup)
    assert isinstance(await queued, Lookup)


async def test_turn_that_does_not_come_in_time_is_overload() -> None:
    """The waiting has a bound of its own, a multiple of the budget."""
    house = build_house(limits=FetchLimits(budget_seconds=0.01, concurrency=1, queue_size=1))
    house.edge.gate = asyncio.Event()
    flying = asyncio.create_task(house.fetcher.fetch(KEY))
    await house.edge.reached.wait()

    answer = await house.fetcher.fetch(EntityKey("customer-2"))

    assert isinstance(answer, NotFetched)
    assert isinstance(answer.error, Overloaded)
    house.edge.gate.set()
    await flying


async def test_doubted_fetch_that_may_not_ask_again_ends_suspect(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the feed sent during a fetch may be newer than its answer."""
    monkeypatch.setattr(fetching_module, "MAX_ASKS", 1)
    house.edge.gate = asyncio.Event()
    flying = asyncio.create_task(house.fetcher.fetch(KEY))
    await house.edge.reached.wait()
    house.fetcher.doubt(KEY)
    house.fetcher.doubt(EntityKey("nobody fetches this one"))
    house.edge.gate.set()

    fetched = await flying

    assert isinstance(fetched, Lookup)
    assert fetched.cached.confirmed_at == NEVER


async def test_fetch_does_not_show_older_usage_than_was_sent(house: House) -> None:
    """A report answered before a slow fetch shows in what that fetch leaves behind."""
    house.edge.answer = an_entity(a_metered_feature("f", usage=a_usage(1, updated_at_ms=10)))
    house.fetcher.note_usage(KEY, UsageUpdate(feature_id="f", current=2, updated_at_ms=20))
    house.fetcher.note_usage(KEY, UsageUpdate(feature_id="unknown", current=2, updated_at_ms=20))

    fetched = await house.fetcher.fetch(KEY)

    assert isinstance(fetched, Lookup)
    assert fetched.cached.entity.features["f"].usage.current == 2  # type: ignore[union-attr]


async def test_stopping_ends_the_fetches_under_way(house: House) -> None:
    """Nothing is left running, and the probe of an open circuit stays possible."""
    await _fail(house, Unreachable("edge"), Unreachable("api"))
    house.clock.advance(FIRST_PAUSE_SECONDS)
    house.edge.gate = asyncio.Event()
    house.edge.reached.clear()
    flying = asyncio.create_task(house.fetcher.fetch(KEY))
    await house.edge.reached.wait()

    await house.fetcher.stop()

    with pytest.raises(asyncio.CancelledError):
        await flying
    assert house.circuits.states[Source.EDGE] is BreakerState.OPEN


async def _fail(house: House, edge: UpstreamError, api: UpstreamError) -> None:
    house.edge.answer = edge
    house.api.answer = api
    for number in range(FAILURES_TO_OPEN):
        await house.fetcher.fetch(EntityKey(f"failing-{number}"))


class SlowTurns:
    """Another process has the turn and does not finish; the clock goes on meanwhile."""

    def __init__(self, house: House) -> None:
        self._clock = house.clock
        self.waited: list[float] = []

    async def claim(self, key: EntityKey, *, wait_seconds: float, look: Look | None = None) -> FetchClaim:
        self.waited.append(wait_seconds)
        self._clock.advance(wait_seconds)
        return FetchClaim(key=key, turn=FetchLockOutcome.UNCOORDINATED)

    async def done(self, claim: FetchClaim, *, error: str | None = None) -> None:
        pass


@pytest.mark.parametrize(
    ("budget_seconds", "expected"), [(1.0, TURN_SHARE), (10.0, TURN_SECONDS), (4.0, 4 * TURN_SHARE)]
)
async def test_waiting_for_another_process_leaves_time_to_fetch(
    house: House, budget_seconds: float, expected: float
) -> None:
    """Found by the weather machine, seed 2, with the lock of a sidecar that was killed.

    With a budget of 1 s a miss waited 2 s for the process that held the lock, twice its whole budget, and had
    no time left to ask the cloud itself.
    """
    turns = SlowTurns(house)
    limits = FetchLimits(budget_seconds=budget_seconds, concurrency=4, queue_size=8)
    fetcher = EntityFetcher(
        circuits=Circuits([Source.EDGE, Source.API], clock=FakeClock()),
        sources=[house.edge, house.api],
        store=house.store,
        clock=house.clock,
        limits=limits,
        turns=turns,
    )

    fetched = await fetcher.fetch(KEY)

    assert [expected] == turns.waited
    assert isinstance(fetched, Lookup)
    assert house.edge.budgets == [pytest.approx((budget_seconds - expected) * FIRST_SOURCE_SHARE)]


class TurnsAfterAnother:
    """The lock is free, since another process has just fetched it; what is given back is noted."""

    def __init__(self) -> None:
        self.given_back: list[FetchClaim] = []

    async def claim(self, key: EntityKey, *, wait_seconds: float, look: Look | None = None) -> FetchClaim:
        return FetchClaim(key=key, turn=FetchLockOutcome.ACQUIRED, token=b"ours", is_there=True)

    async def done(self, claim: FetchClaim, *, error: str | None = None) -> None:
        self.given_back.append(claim)


@dataclass
class WhatAnotherFetched:
    """The shared tier, which answers what another process wrote."""

    found: CachedEntity | Miss

    async def get(self, _key: EntityKey, *, claim: FetchClaim | None = None) -> CachedEntity | Miss:
        return self.found

    async def store(self, key: EntityKey, cached: CachedEntity, *, claim: FetchClaim | None = None) -> Shared:
        return Shared.TAKEN

    async def apply_usage(self, key: EntityKey, update: UsageUpdate) -> Shared:
        return Shared.OVERTAKEN

    async def drop(self, key: EntityKey) -> None:
        pass


@pytest.mark.parametrize(
    ("found_ago", "source"), [(1.0, Source.REDIS), (60.0, Source.EDGE), (None, Source.EDGE)]
)
async def test_what_another_fetched_between_the_miss_and_the_lock_is_not_fetched_again(
    house: House, found_ago: float | None, source: Source
) -> None:
    """Twenty sidecars that started together fetched a customer up to three times."""
    turns = TurnsAfterAnother()
    shared = WhatAnotherFetched(
        Miss.JUNK
        if found_ago is None
        else CachedEntity(entity=an_entity(), confirmed_at=house.clock.monotonic() - found_ago)
    )

    fetched = await a_fetcher_beside(shared, house, turns).fetch(KEY)

    assert isinstance(fetched, Lookup)
    assert fetched.source is source
    assert len(house.edge.asked) == (source is Source.EDGE)
    assert [b"ours"] == [each.token for each in turns.given_back]


class WhatIsReadTooSoon(WhatAnotherFetched):
    """The read that is joined first had been sent before the other process stored."""

    is_of_before = True

    async def get(self, _key: EntityKey, *, claim: FetchClaim | None = None) -> CachedEntity | Miss:
        found = Miss.ABSENT if self.is_of_before else self.found
        self.is_of_before = False
        return found


async def test_a_read_that_was_under_way_is_no_reason_to_fetch_what_another_has_stored(house: House) -> None:
    """A call that came in between had begun it; on a busy machine one of fifty was fetched twice."""
    cached = CachedEntity(entity=an_entity(), confirmed_at=house.clock.monotonic())
    fetcher = a_fetcher_beside(WhatIsReadTooSoon(cached), house, TurnsAfterAnother())

    fetched = await fetcher.fetch(KEY)

    assert isinstance(fetched, Lookup)
    assert Source.REDIS is fetched.source
    assert 0 == len(house.edge.asked)


class TurnsWithALook:
    """The lock is free for who looked in vain."""

    async def claim(self, key: EntityKey, *, wait_seconds: float, look: Look | None = None) -> FetchClaim:
        claim = FetchClaim(key=key, turn=FetchLockOutcome.ACQUIRED, token=b"ours")
        claim.found = None if look is None else await look(claim)
        return claim

    async def done(self, claim: FetchClaim, *, error: str | None = None) -> None:
        assert claim.found is None


class WhatIsReadSlowly(WhatAnotherFetched):
    """The same once the gate is open."""

    def __init__(self, found: CachedEntity) -> None:
        super().__init__(found)
        self.gate, self.reached = asyncio.Event(), asyncio.Event()

    async def get(self, _key: EntityKey, *, claim: FetchClaim | None = None) -> CachedEntity | Miss:
        self.reached.set()
        await self.gate.wait()
        return self.found


def a_fetcher_beside(
    shared: WhatAnotherFetched, house: House, turns: FetchCoordinator | None
) -> EntityFetcher:
    return EntityFetcher(
        circuits=house.circuits,
        sources=[house.edge, house.api],
        store=Tiers(MemoryTier(max_size_bytes=1_000_000), shared),
        clock=house.clock,
        limits=FetchLimits(budget_seconds=10, concurrency=4, queue_size=8),
        turns=turns,
    )


@pytest.mark.parametrize("is_down", [False, True], ids=["the cloud is well", "the cloud is down"])
@pytest.mark.parametrize("turns", [TurnsWithALook(), None], ids=["locks", "no locks"])
async def test_what_others_share_is_found_without_asking_the_cloud(
    house: House, turns: FetchCoordinator | None, *, is_down: bool
) -> None:
    if is_down:
        await _fail(house, Unreachable("edge"), Unreachable("api"))
        house.edge.asked.clear()
    shared = WhatAnotherFetched(CachedEntity(entity=an_entity(), confirmed_at=house.clock.monotonic()))

    found = await a_fetcher_beside(shared, house, turns).find(KEY)

    assert isinstance(found, Lookup)
    assert Source.REDIS is found.source
    assert [] == house.edge.asked


async def test_who_wants_the_clouds_word_gets_it_though_others_only_look(house: House) -> None:
    """A re-check that joined a look would take what it was to check for the answer."""
    shared = WhatIsReadSlowly(CachedEntity(entity=an_entity(), confirmed_at=house.clock.monotonic()))
    fetcher = a_fetcher_beside(shared, house, TurnsWithALook())
    looking = asyncio.create_task(fetcher.find(KEY))
    await shared.reached.wait()
    fetching = asyncio.create_task(fetcher.fetch(KEY))
    await asyncio.sleep(0)
    shared.gate.set()

    outcomes = [await looking, await fetching]

    assert [Source.REDIS, Source.EDGE] == [each.source for each in outcomes if isinstance(each, Lookup)]
    assert 1 == fetcher.joined


async def _asked_in_turn(house: House, callers: Sequence[tuple[str, str]]) -> list[str]:
    """The order in which the cloud is asked for what callers want while it is busy with another."""
    house.edge.gate = asyncio.Event()
    tasks = [asyncio.create_task(house.fetcher.fetch(EntityKey("first")))]
    await house.edge.reached.wait()
    for peer, customer in callers:
        context = copy_context()
        context.run(CALL_PEER.set, peer)
        tasks.append(asyncio.create_task(house.fetcher.fetch(EntityKey(customer)), context=context))
        for _ in range(3):
            await asyncio.sleep(0)
    house.edge.gate.set()
    await asyncio.gather(*tasks)
    return [key.customer_id for key in house.edge.asked]


async def test_one_client_with_many_misses_leaves_others_their_turn() -> None:
    """Of two connections each has every other fetch, however many one waits for."""
    house = build_house(limits=FetchLimits(budget_seconds=10, concurrency=1, queue_size=100))
    callers = [*(("a", f"a{number}") for number in range(20)), ("b", "b0"), ("b", "b1"), ("b", "a19")]

    order = await _asked_in_turn(house, callers)

    assert ["first", "a0", "b0", "a1", "b1", "a2", "a19", "a3"] == order[:8]


async def test_full_queue_of_one_client_has_room_for_others() -> None:
    """Its own youngest makes room; who has most itself is reported."""
    house = build_house(limits=FetchLimits(budget_seconds=10, concurrency=1, queue_size=4))
    callers = [*(("a", f"a{number}") for number in range(6)), ("b", "b0")]

    order = await _asked_in_turn(house, callers)

    assert ["first", "a0", "b0", "a1", "a2"] == order
