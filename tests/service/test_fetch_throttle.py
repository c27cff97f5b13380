"""Hits come first where there is more to do than the interpreter can."""

import asyncio
from dataclasses import dataclass

import pytest

from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.errors import Unreachable
from entitlements.service.fetch_throttle import (
    FIRST_INTERVAL_SECONDS,
    LONGEST_PAUSE_SECONDS,
    LOOP_SHARE,
    PAUSE_SHARE,
    SAMPLE_SECONDS,
    STORM,
    FetchThrottle,
    ThrottledSource,
)
from tests.fakes import FakeClock, ScriptedSource

BUDGET_SECONDS = 10.0


@dataclass
class ScriptedProcessor:
    """Threads that use what they are told to."""

    hits: float = 0.0
    loop: float = 0.0

    def hits_seconds(self) -> float:
        return self.hits

    def loop_seconds(self) -> float:
        return self.loop


@dataclass
class Machine:
    """A pacing, and what it sees."""

    clock: FakeClock
    processor: ScriptedProcessor
    fetch_throttle: FetchThrottle

    def spend(self, seconds: float = SAMPLE_SECONDS, *, hits: float, loop: float) -> None:
        """Lets time pass in which the threads use these shares of a processor."""
        self.clock.advance(seconds)
        self.processor.hits += hits * seconds
        self.processor.loop += loop * seconds

    def pause(self, *, under_way: int = STORM, budget_seconds: float = BUDGET_SECONDS) -> float:
        return self.fetch_throttle.pause_seconds(under_way=under_way, budget_seconds=budget_seconds)


@pytest.fixture
def machine() -> Machine:
    clock, processor = FakeClock(), ScriptedProcessor()
    fetch_throttle = FetchThrottle(clock=clock)
    fetch_throttle.watch(processor)
    return Machine(clock, processor, fetch_throttle)


def test_in_a_storm_beside_busy_hits_fetches_start_one_after_the_other(machine: Machine) -> None:
    machine.spend(hits=0.5, loop=0.5)

    pauses = [machine.pause() for _ in range(3)]

    assert [0.0, FIRST_INTERVAL_SECONDS, 2 * FIRST_INTERVAL_SECONDS] == pytest.approx(pauses)
    assert 2 == machine.fetch_throttle.paced


def test_their_interval_is_what_one_costs_over_the_loops_share(machine: Machine) -> None:
    machine.spend(hits=0.5, loop=0.5)
    for _ in range(5):
        machine.pause()
    machine.spend(1.0, hits=0.9, loop=0.01)
    machine.pause()
    first = machine.pause()
    machine.spend(1.0, hits=0.9, loop=0.02)
    machine.pause()
    second = machine.pause()

    assert [0.01 / 5 / LOOP_SHARE, 0.02 / 2 / LOOP_SHARE] == pytest.approx([first, second])


@pytest.mark.parametrize(("hits", "loop"), [(0.25, 0.7), (0.05, 0.95), (0.4, 0.35), (0.0, 0.0)], ids=str)
def test_nobody_waits_where_hits_need_nothing_more(machine: Machine, hits: float, loop: float) -> None:
    """A cold start is all fetches: they may have the processor."""
    machine.spend(hits=hits, loop=loop)

    assert {0.0} == {machine.pause() for _ in range(100)}


def test_a_few_fetches_never_wait(machine: Machine) -> None:
    machine.spend(hits=0.5, loop=0.5)

    assert {0.0} == {machine.pause(under_way=STORM - 1) for _ in range(100)}
    assert 0 == machine.fetch_throttle.paced


def test_it_ends_when_hits_rest(machine: Machine) -> None:
    machine.spend(1.0, hits=0.5, loop=0.5)
    machine.pause()
    assert machine.pause() > 0

    machine.spend(hits=0.1, loop=0.05)

    assert {0.0} == {machine.pause() for _ in range(3)}


def test_an_instant_says_nothing(machine: Machine) -> None:
    """A thread that was busy for a millisecond is not busy."""
    machine.spend(SAMPLE_SECONDS * 0.9, hits=1.0, loop=1.0)

    machine.pause()

    assert 0 == machine.pause()


@pytest.mark.parametrize(
    ("budget_seconds", "longest"), [(10.0, LONGEST_PAUSE_SECONDS), (1.0, PAUSE_SHARE)], ids=str
)
def test_no_fetch_waits_too_long(machine: Machine, budget_seconds: float, longest: float) -> None:
    """However many are before it, it still has time to fetch."""
    machine.spend(hits=0.5, loop=0.5)

    pauses = [machine.pause(budget_seconds=budget_seconds) for _ in range(1000)]

    assert longest == max(pauses)


def test_without_a_thread_for_hits_nobody_waits() -> None:
    """On grpc.aio everything is on the loop."""
    clock = FakeClock()
    fetch_throttle = FetchThrottle(clock=clock)
    clock.advance(10)

    assert {0.0} == {
        fetch_throttle.pause_seconds(under_way=STORM, budget_seconds=BUDGET_SECONDS) for _ in range(100)
    }


def test_when_the_thread_is_about_to_end_nobody_waits_nor_asks(machine: Machine) -> None:
    """The clock of a thread that is gone answers with an error, and the cloud is asked until the end."""
    machine.spend(hits=0.5, loop=0.5)
    machine.pause()
    assert machine.pause() > 0

    machine.fetch_throttle.watch(None)
    machine.spend(hits=0.5, loop=0.5)

    assert {0.0} == {machine.pause() for _ in range(3)}


async def test_the_pause_is_part_of_the_budget(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    source = ScriptedSource(answer=Entity(), gate=asyncio.Event())
    paced = ThrottledSource(source, machine.fetch_throttle)
    machine.spend(hits=0.5, loop=0.5)

    fetches = [
        asyncio.create_task(paced.fetch(EntityKey(f"c{number}"), budget_seconds=1.0))
        for number in range(STORM + 1)
    ]
    await asyncio.sleep(0)  # they all begin
    assert STORM == len(source.asked)
    assert source.gate is not None
    source.gate.set()
    await asyncio.gather(*fetches)

    assert source.source is paced.source
    assert sorted([*([1.0] * STORM), 1.0 - FIRST_INTERVAL_SECONDS]) == pytest.approx(sorted(source.budgets))
    assert 1 == caplog.text.count("fetches start slowly")


async def test_what_has_ended_is_not_under_way(machine: Machine) -> None:
    """Whether it ended well or not."""
    source = ScriptedSource(answer=Unreachable("edge", "is away"))
    paced = ThrottledSource(source, machine.fetch_throttle)
    machine.spend(hits=0.5, loop=0.5)

    for number in range(3 * STORM):
        with pytest.raises(Unreachable):
            await paced.fetch(EntityKey(f"c{number}"), budget_seconds=1.0)

    assert 0 == machine.fetch_throttle.paced
