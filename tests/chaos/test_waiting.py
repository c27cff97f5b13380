"""The kernel says what waited for a processor, and the judge allows for that and for nothing else."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.chaos.judge import judge
from tests.chaos.records import Death, FailedRead, FailedTry, Grant, OverrideSeen, Run
from tests.chaos.test_judge import a_run, an_answer
from tests.chaos.verdict import Kind
from tests.chaos.waiting import Look, Wait, Waits
from tests.eventually import eventually

BUSY, IDLE = "while True: pass", "import time; time.sleep(600)"


@contextmanager
def _running(program: str) -> Iterator[int]:
    """On one processor together with all others of these."""
    with subprocess.Popen([sys.executable, "-c", program]) as process:  # noqa: S603
        try:
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
            yield process.pid
        finally:
            process.kill()


async def test_who_shares_a_processor_waits_for_it() -> None:
    """Who sleeps does not; nobody waits longer than the time that went by."""
    with ExitStack() as stack:
        busy = [stack.enter_context(_running(BUSY)) for _ in range(3)]
        look, waits = Look(), list[Wait]()

        def waited_seconds() -> float:
            if (wait := look.again(busy, at=time.monotonic())) is not None:
                waits.append(wait)
            return sum(wait.seconds for wait in waits)

        await eventually(lambda: waited_seconds() > 0.5)

        assert [] == [wait for wait in waits if wait.seconds > wait.ended - wait.began]


async def test_who_sleeps_does_not_wait() -> None:
    """However busy the computer is."""
    with _running(IDLE) as idle:
        look = Look()
        await eventually(lambda: _state_of(idle) == "S")
        look.again([idle], at=1.0)

        wait = look.again([idle, 0], at=2.0)

    assert Wait(began=1.0, ended=2.0, seconds=0.0) == wait


def _state_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_of_a_part_of_the_time_its_part_counts() -> None:
    """Whatever was before or after."""
    waits = Waits(spans=[_wait(0.0, 1.0, 0.5), _wait(1.0, 3.0, 1.0), _wait(3.0, 4.0, 1.0)])

    assert 0.0 == waits.within(4.0, 9.0)
    assert pytest.approx(0.25 + 0.75) == waits.within(0.5, 2.5)
    assert not waits.was_busy(0.0, 2.9)
    assert waits.was_busy(2.5, 3.1)


def _slow(run: Run) -> None:
    run.answers.append(an_answer(3, at=3.6, seconds=2.4))


def _given_up(run: Run) -> None:
    tried = {"line": "a/0", "method": "v2", "started": 3.6, "ended": 6.2}
    run.failed_tries.append(FailedTry(**tried, status="DEADLINE_EXCEEDED: Deadline Exceeded"))  # type: ignore[arg-type]


def _given_up_twice(run: Run) -> None:
    run.failed_reads.append(FailedRead(customer_id="c", method="v2", started=3.6, ended=8.6))


def _given_up_and_then_refused(run: Run) -> None:
    """The other instance had been killed meanwhile."""
    tries = [
        FailedTry(line="a/0", method="v2", started=3.6, ended=6.2, status="DEADLINE_EXCEEDED: "),
        FailedTry(line="b/0", method="v2", started=6.2, ended=6.3, status="UNAVAILABLE: "),
    ]
    run.failed_reads.append(FailedRead(customer_id="c", method="v2", started=3.6, ended=6.3, tries=tries))


def _not_drained(run: Run) -> None:
    run.deaths.append(Death(words="", began=3.6, ended=8.6, ran_out_of_time=True))


def _outdated(run: Run) -> None:
    run.answers.append(an_answer(2, at=6.0))


def _old(run: Run) -> None:
    run.answers.append(an_answer(2, at=10.0, state="stale"))


def _fallback(run: Run) -> None:
    run.answers += [an_answer(3, at=3.1, line="b/0"), an_answer(None, at=5.0, state="")]


def _overridden(run: Run) -> None:
    run.grants.append(Grant(began=1.0, ends_by=3.6))
    run.overrides_seen.append(OverrideSeen(instance="a", started=6.0, ended=6.1, is_granted=True))


@pytest.mark.parametrize(
    ("happen", "kind"),
    [
        (_slow, Kind.SLOW),
        (_given_up, Kind.FAILED),
        (_given_up_twice, Kind.FAILED),
        (_given_up_and_then_refused, Kind.FAILED),
        (_not_drained, Kind.DIED),
        (_outdated, Kind.WRONG),
        (_old, Kind.OLD),
        (_fallback, Kind.FALLBACK),
        (_overridden, Kind.OVERRIDDEN),
    ],
)
def test_what_was_late_since_nothing_could_run_is_nobodys_fault(
    happen: Callable[[Run], None], kind: Kind
) -> None:
    """What waited before or after is no excuse."""
    for began, kinds in ((3.6, []), (20.0, [kind])):
        run = a_run()
        run.waits.spans += [_wait(began + number, began + number + 1, 0.9) for number in range(5)]
        happen(run)

        assert kinds == [violation.kind for violation in judge(run).violations]


def test_who_died_otherwise_has_no_excuse() -> None:
    """A worker that fails while it drains does so on any computer."""
    run = a_run()
    run.waits.spans.append(_wait(3.0, 15.0, 11.9))
    run.deaths.append(Death(words="a ended with 1: Traceback", began=3.6, ended=13.6))

    assert [Kind.DIED] == [violation.kind for violation in judge(run).violations]


@pytest.mark.parametrize(
    ("status", "seconds"), [("UNAVAILABLE: Connection refused", 2.5), ("DEADLINE_EXCEEDED: ", 0.5)]
)
def test_who_was_refused_was_not_kept_waiting(status: str, seconds: float) -> None:
    """Nor was who gave up early."""
    run = a_run()
    run.waits.spans.append(_wait(3.0, 7.0, 3.9))
    run.failed_tries.append(
        FailedTry(line="a/0", method="v2", started=3.6, ended=3.6 + seconds, status=status)
    )

    assert [Kind.FAILED] == [violation.kind for violation in judge(run).violations]


def _wait(began: float, ended: float, seconds: float) -> Wait:
    return Wait(began=began, ended=ended, seconds=seconds)


@pytest.mark.parametrize(
    ("method", "seconds", "kinds"), [("v2", 18.0, []), ("v2", 2.4, [Kind.SLOW]), ("ofrep", 4.9, [Kind.SLOW])]
)
def test_what_is_answered_past_its_deadline_was_there_in_time(
    method: str, seconds: float, kinds: list[Kind]
) -> None:
    """The client was late to look at 400 answers, all after 18 s, though each call has 2.5 s (seed 46)."""
    run = a_run()
    run.answers.append(an_answer(3, at=3.6, seconds=seconds, method=method))

    assert kinds == [violation.kind for violation in judge(run).violations]
