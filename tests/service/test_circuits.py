"""Whose fault a failure is (contract/upstream.md), and how an open circuit heals by itself."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from entitlements.domain.breaker import FAILURES_TO_OPEN, FIRST_PAUSE_SECONDS, TOGETHER_SECONDS, BreakerState
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.errors import (
    Busy,
    Forbidden,
    Garbled,
    KeyRefused,
    Throttled,
    TooLarge,
    Unreachable,
    UpstreamError,
)
from entitlements.domain.gap import NO_GAP, Gap
from entitlements.domain.ports import Lookup, Source
from entitlements.service import circuits as module
from entitlements.service.circuits import Circuits
from entitlements.service.flight import NotFetched
from entitlements.service.resting import MAX_RESTING, REST_SECONDS, RestingEntities
from entitlements.service.source_chain import FetchLimits
from tests.builders import an_entity
from tests.fakes import FakeClock
from tests.service.conftest import House, build_house

TROUBLED = EntityKey("troubled")
OF_ONE_ENTITY = [
    Forbidden("edge"),
    Throttled("edge"),
    Garbled("edge", "answered with status 500"),
    TooLarge("edge"),
    Unreachable("edge", "did not answer in time"),
]


async def ask(house: House, key: EntityKey, *, times: int = 1) -> list[bool]:
    """Whether each fetch got something, one a second."""
    answers = []
    for _ in range(times):
        answers.append(isinstance(await house.fetcher.fetch(key), Lookup))
        house.clock.advance(1)
    return answers


@pytest.mark.parametrize("error", OF_ONE_ENTITY, ids=lambda error: type(error).__name__)
async def test_one_customers_trouble_denies_nobody_else(house: House, error: UpstreamError) -> None:
    """Asked again and again, one customer fails; the others are fetched."""

    async def of_one(key: EntityKey, *, budget_seconds: float) -> Entity:
        assert budget_seconds > 0
        if key == TROUBLED:
            raise error
        return an_entity()

    house.edge.fetch = house.api.fetch = of_one  # type: ignore[method-assign]

    others = []
    for number in range(20):
        await ask(house, TROUBLED, times=2)
        others += await ask(house, EntityKey(f"other-{number}"))

    assert [True] * 20 == others
    assert {BreakerState.CLOSED} == set(house.circuits.states.values())


async def test_an_entity_that_failed_rests_and_is_asked_about_again(house: House) -> None:
    """Asked a hundred times a second it costs the cloud one request in REST_SECONDS."""
    house.edge.answer, house.api.answer = Garbled("edge"), Garbled("api")
    error = (await house.fetcher.fetch(TROUBLED)).error  # type: ignore[union-attr]

    rested = [await house.fetcher.fetch(TROUBLED) for _ in range(5)]
    resting = house.fetcher.resting
    house.clock.advance(REST_SECONDS)
    house.edge.answer = an_entity()
    healed = await house.fetcher.fetch(TROUBLED)

    assert [NotFetched(error=error)] * 5 == rested
    assert 1 == resting
    assert isinstance(healed, Lookup)
    assert 0 == REGISTRY.get_sample_value("sidecar_entities_resting")
    assert [TROUBLED] * 2 == house.edge.asked


def test_the_number_of_those_that_rest_is_bounded() -> None:
    resting = RestingEntities(FakeClock().monotonic)

    for number in range(MAX_RESTING + 5):
        resting.rest(EntityKey(str(number)), Garbled("edge"))

    assert MAX_RESTING == resting.count()
    assert resting.error_of(EntityKey("0")) is None
    assert resting.error_of(EntityKey(str(MAX_RESTING + 4))) is not None


def a_circuit(clock: FakeClock) -> Circuits:
    return Circuits([Source.EDGE, Source.API], clock=clock)


def fail(circuits: Circuits, clock: FakeClock, *, apart_seconds: float = 0.0) -> BreakerState:
    for number in range(FAILURES_TO_OPEN):
        clock.advance(apart_seconds)
        circuits.failed(Source.API, Unreachable("api"), key=EntityKey(str(number)))
    return circuits.states[Source.API]


def test_entities_that_fail_together_open_it() -> None:
    clock = FakeClock()

    assert BreakerState.OPEN is fail(a_circuit(clock), clock)


def test_entities_that_fail_now_and_then_do_not() -> None:
    """On a quiet sidecar three customers with troubles of their own are no outage."""
    clock = FakeClock()

    assert BreakerState.CLOSED is fail(a_circuit(clock), clock, apart_seconds=TOGETHER_SECONDS)


def test_customers_that_are_too_large_are_no_outage() -> None:
    """Each crosses a bound of ours; the source answered."""
    circuits = a_circuit(FakeClock())

    for number in range(10):
        circuits.failed(Source.EDGE, TooLarge("edge"), key=EntityKey(str(number)))

    assert BreakerState.CLOSED is circuits.states[Source.EDGE]


def test_our_own_slowness_is_not_the_sources() -> None:
    """A request that never left for want of a place says nothing of the cloud."""
    circuits = a_circuit(FakeClock())

    for number in range(10):
        circuits.failed(Source.EDGE, Busy("edge"), key=EntityKey(str(number)))

    assert BreakerState.CLOSED is circuits.states[Source.EDGE]


@pytest.mark.parametrize(
    ("answered_after_seconds", "state"),
    [(None, BreakerState.OPEN), (-1.0, BreakerState.OPEN), (1.0, BreakerState.CLOSED)],
)
def test_a_crowd_that_is_answered_slowly_does_not_open_it(
    answered_after_seconds: float | None, state: BreakerState
) -> None:
    """All are asked at the same moment: some are answered, the others not in time."""
    clock = FakeClock()
    circuits = a_circuit(clock)
    if answered_after_seconds == -1.0:
        circuits.succeeded(Source.EDGE)
        clock.advance(1)
    began_at = clock.monotonic()
    if answered_after_seconds == 1.0:
        clock.advance(1)
        circuits.succeeded(Source.EDGE)
    clock.advance(1)

    for number in range(200):
        circuits.failed(Source.EDGE, Unreachable("edge"), key=EntityKey(str(number)), began_at=began_at)

    assert state is circuits.states[Source.EDGE]


def test_a_source_that_died_in_a_crowd_opens_it_with_the_next_that_are_asked() -> None:
    clock = FakeClock()
    circuits = a_circuit(clock)
    died_at = clock.monotonic()
    clock.advance(0.1)
    circuits.succeeded(Source.EDGE)
    clock.advance(2)
    for number in range(100):
        circuits.failed(Source.EDGE, Unreachable("edge"), key=EntityKey(str(number)), began_at=died_at)
    of_the_crowd = circuits.states[Source.EDGE]

    for number in range(FAILURES_TO_OPEN):
        circuits.failed(Source.EDGE, Unreachable("edge"), key=EntityKey(str(number)), began_at=died_at + 1)

    assert BreakerState.CLOSED == of_the_crowd
    assert BreakerState.OPEN == circuits.states[Source.EDGE]


def test_a_refused_key_opens_it_at_once_and_a_403_has_the_key_checked() -> None:
    doubts: list[None] = []
    circuits = Circuits([Source.EDGE], clock=FakeClock(), doubt_key=lambda: doubts.append(None))

    circuits.failed(Source.EDGE, Forbidden("edge"), key=TROUBLED)
    after_a_403 = circuits.states[Source.EDGE]
    circuits.failed(Source.EDGE, KeyRefused("edge"), key=TROUBLED)

    assert BreakerState.CLOSED == after_a_403
    assert BreakerState.OPEN == circuits.states[Source.EDGE]
    assert [None] == doubts


def test_any_answer_of_the_api_closes_its_circuit() -> None:
    """A report was delivered over it: it answers."""
    clock = FakeClock()
    circuits = a_circuit(clock)
    fail(circuits, clock)

    circuits.answered(Source.API)

    assert BreakerState.CLOSED is circuits.states[Source.API]
    assert {} == circuits.failures


def test_a_source_that_fails_again_after_its_probe_succeeded_pauses_longer() -> None:
    """Its health answers and its entitlements do not: it is not asked again every second."""
    clock = FakeClock()
    circuits = a_circuit(clock)
    fail(circuits, clock)
    circuits.answered(Source.API)
    fail(circuits, clock)

    clock.advance(FIRST_PAUSE_SECONDS)
    after_the_first_pause = circuits.try_acquire(Source.API)
    clock.advance(FIRST_PAUSE_SECONDS)

    assert not after_the_first_pause
    assert circuits.try_acquire(Source.API)


async def test_an_open_circuit_is_probed_when_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is probed when its pause is over, and closes with the first probe that is answered."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    clock, closed = FakeClock(), asyncio.Event()
    circuits = a_circuit(clock)
    fail(circuits, clock)
    answers: list[UpstreamError | None] = [Unreachable("api"), None]

    async def probe(budget_seconds: float) -> None:
        assert budget_seconds > 0
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        closed.set()

    task = asyncio.create_task(circuits.probe({Source.API: probe}))
    await asyncio.sleep(0)
    before_its_time = len(answers)
    while not closed.is_set():
        clock.advance(FIRST_PAUSE_SECONDS)
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()

    assert 2 == before_its_time
    assert BreakerState.CLOSED is circuits.states[Source.API]


@pytest.mark.parametrize("heals", ["succeeded", "answered"])
def test_a_failure_of_what_began_before_the_circuit_closed_is_old_news(heals: str) -> None:
    """An outage ends, and the fetches that hung in it run into their time-outs."""
    clock = FakeClock()
    circuits = a_circuit(clock)
    fail(circuits, clock)
    began_at = clock.monotonic()
    clock.advance(FIRST_PAUSE_SECONDS)
    getattr(circuits, heals)(Source.API)

    for number in range(50):
        key = EntityKey(f"hung-{number}")
        circuits.failed(Source.API, Unreachable("api"), key=key, began_at=began_at)
    late = circuits.states[Source.API]

    assert BreakerState.CLOSED == late
    assert BreakerState.OPEN == fail(circuits, clock)


@pytest.mark.parametrize("waited_seconds", [2.0, 9.0, 9.99])
async def test_time_that_was_spent_waiting_here_is_not_the_sources(waited_seconds: float) -> None:
    """A storm: each fetch waits for its slot, and what is left of its budget does not suffice.

    The first has its whole time, since the cloud answered another while it waited: its failure counts.
    """
    house = build_house(limits=FetchLimits(budget_seconds=10, concurrency=1, queue_size=100))
    house.edge.gate = asyncio.Event()
    first = asyncio.create_task(house.fetcher.fetch(EntityKey("first")))
    await house.edge.reached.wait()

    async def too_slow(key: EntityKey, *, budget_seconds: float) -> Entity:
        assert key
        house.clock.advance(budget_seconds)
        raise Unreachable("edge", "did not answer in time")

    house.edge.fetch = house.api.fetch = too_slow  # type: ignore[method-assign]
    waiting = [asyncio.create_task(house.fetcher.fetch(EntityKey(f"waits-{n}"))) for n in range(9)]
    while house.fetcher._chain._queued < len(waiting):  # noqa: ASYNC110 - it announces no event
        await asyncio.sleep(0)
    house.clock.advance(waited_seconds)
    house.edge.gate.set()
    answers = await asyncio.gather(*waiting)

    assert isinstance(await first, Lookup)
    assert {BreakerState.CLOSED} == set(house.circuits.states.values())
    assert 1 == house.fetcher.resting
    assert not any(isinstance(answer, Lookup) for answer in answers)


async def test_a_source_that_is_not_there_is_reported_as_such_also_where_we_were_late() -> None:
    """A connection that is refused at once has nothing to do with how long we waited."""
    house = build_house(limits=FetchLimits(budget_seconds=10, concurrency=1, queue_size=100))
    house.edge.gate = asyncio.Event()
    first = asyncio.create_task(house.fetcher.fetch(EntityKey("first")))
    await house.edge.reached.wait()
    house.edge.answer = house.api.answer = Unreachable("edge", "could not be reached")
    waiting = [asyncio.create_task(house.fetcher.fetch(EntityKey(f"waits-{n}"))) for n in range(9)]
    while house.fetcher._chain._queued < len(waiting):  # noqa: ASYNC110 - it announces no event
        await asyncio.sleep(0)
    house.clock.advance(5)
    house.edge.gate.set()
    await asyncio.gather(first, *waiting)

    assert {BreakerState.OPEN} == set(house.circuits.states.values())


async def test_an_outage_is_while_no_source_is_asked() -> None:
    """One that is down beside another that answers leaves nothing unknown."""
    clock = FakeClock()
    circuits = Circuits([Source.EDGE, Source.API], clock=clock, max_unverified_seconds=7)
    gaps = []
    for source in (Source.EDGE, Source.API):
        circuits.failed(source, KeyRefused(source.value))
        clock.advance(100)
        gaps.append(circuits.last_gap)
    circuits.try_acquire(Source.API)
    gaps.append(circuits.last_gap)
    circuits.answered(Source.API)
    gaps.append(circuits.last_gap)
    clock.advance(1)
    circuits.succeeded(Source.EDGE)
    gaps.append(circuits.last_gap)

    began_at = FakeClock().monotonic() + 100
    assert [NO_GAP] * 3 + [Gap(began_at, began_at + 100, 7)] * 2 == gaps
