"""Clients of other stacks call beside a storm, and how their calls ended is judged by what struck whom."""

from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.chaos.beside import MANNERS, Beside, beside, chosen
from tests.chaos.judge import judge
from tests.chaos.machine import Machine
from tests.chaos.records import Happened, Run
from tests.chaos.rollover import STACKS
from tests.chaos.verdict import Kind
from tests.chaos.worlds import WORLDS


def test_a_seed_chooses_a_client() -> None:
    """The same again; of some seeds every stack and every manner."""
    some = [chosen(seed, list(STACKS)) for seed in range(60)]

    assert some == [chosen(seed, list(STACKS)) for seed in range(60)]
    assert set(STACKS) == {each.stack for each in some}
    assert set(MANNERS) == {each.manner for each in some}


@pytest.mark.parametrize(
    ("struck", "deadline", "status", "kinds"),
    [
        ("b", "30 s", "UNAVAILABLE", [Kind.FAILED]),
        ("a", "30 s", "Unavailable", []),
        ("a", "30 s", "INTERNAL", [Kind.FAILED]),
        ("b", "0.05 s", "DEADLINE_EXCEEDED", []),
        ("b", "30 s", "DeadlineExceeded", [Kind.FAILED]),
    ],
)
def test_a_call_fails_for_what_struck_its_instance(
    struck: str, deadline: str, status: str, kinds: list[Kind]
) -> None:
    """Who follows no health sees the death of whom it calls, and nothing of the other's."""
    run = Run(seed=1, began=0.0, ended=30.0, heal_seconds=1.0)
    run.happened = [
        Happened(fault="sidecar killed", family="process", targets=(struck,), began=1.0, ended=2.0)
    ]
    run.beside = {f"go, pings, {deadline}": ("a", Counter({"OK": 5, status: 1}))}

    assert kinds == [violation.kind for violation in judge(run).violations]


@pytest.mark.timeout(240)
async def test_a_client_calls_in_its_manner(tmp_path: Path) -> None:
    """Until the storm is over; then it says how its calls ended."""
    run = Run(seed=1, began=0.0)
    run.truth.add("c", 2, at=0.0)
    clients = [Beside(stack="c-core", manner=each, deadline_seconds=30.0, instance="a") for each in MANNERS]
    async with Machine(tmp_path, WORLDS["plain"]) as machine, AsyncExitStack() as stack:
        for each in clients:
            await stack.enter_async_context(beside(machine, run, each))

    assert {str(each) for each in clients} == set(run.beside)
    assert [("a", {"OK"})] * 3 == [(instance, set(counts)) for instance, counts in run.beside.values()]
