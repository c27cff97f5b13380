"""The judge finds what must not happen, and lets pass what may."""

from typing import Any

import pytest

from tests.chaos.judge import judge
from tests.chaos.records import Answer, Death, FailedRead, FailedTry, Happened, Resources, Run, Write
from tests.chaos.verdict import Kind

SENT = (1, 2, 3)
"""Versions 1, 2 and 3 of `c`, sent at 1, 2 and 3 s."""


def a_run() -> Run:
    run = Run(seed=1, began=0.0, ended=30.0, heal_seconds=1.0)
    for number in SENT:
        run.truth.add("c", number, at=number - 0.1).announced_at = float(number)
    return run


def an_answer(
    number: int | None, *, at: float, seconds: float = 0.01, state: str = "fresh", **values: Any
) -> Answer:
    fields: dict[str, Any] = {
        "customer_id": "c",
        "method": "numeric",
        "line": "a/0",
        "epoch": 0,
        "source": "memory",
    }
    return Answer(
        **(fields | values),
        started=at,
        ended=at + seconds,
        is_fallback=state == "",
        state=state,
        number=number,
    )


def a_fault(
    fault: str = "cloud down", *, family: str = "cloud", began: float, ended: float, aftermath: float = 0.0
) -> Happened:
    return Happened(
        fault=fault,
        family=family,
        targets=("a",),
        began=began,
        ended=ended,
        aftermath_seconds=aftermath,
    )


def some_resources(**values: int) -> Resources:
    fields = {
        "processes": 6,
        "rss_bytes": 1,
        "largest_rss_bytes": 1,
        "fds": 1,
        "threads": 10,
        "client_sockets": 8,
        "peer_sockets": 4,
        "cloud_sockets": 2,
        "redis_sockets": 4,
    }
    return Resources(at=0.0, **(fields | values))


def found(run: Run) -> list[Kind]:
    return [violation.kind for violation in judge(run).violations]


def test_true_answers_pass() -> None:
    """The current version, the one before while it is news, and one that is just being sent."""
    run = a_run()
    run.answers += [
        an_answer(2, at=2.5),
        an_answer(2, at=3.5, line="b/0"),
        an_answer(3, at=2.89, seconds=0.02),
    ]

    assert [] == found(run)


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        (an_answer(2, at=5.5), [Kind.WRONG]),
        (an_answer(2, at=5.5, state="estimate"), [Kind.WRONG]),
        (an_answer(2, at=5.5, state="suspect"), []),
        (an_answer(2, at=9.5, state="suspect"), [Kind.OLD]),
        (an_answer(2, at=9.5, state="stale"), [Kind.OLD]),
        (an_answer(4, at=3.5), [Kind.WRONG]),
        (an_answer(3, at=2.0), [Kind.WRONG]),
        (an_answer(3, at=3.5, is_mixed=True), [Kind.WRONG]),
        (an_answer(None, is_granted=False, at=5.5), []),
        (an_answer(None, is_granted=True, at=5.5), [Kind.WRONG]),
        (an_answer(3, at=3.5, seconds=2.1), [Kind.SLOW]),
        (an_answer(None, at=3.5, state=""), [Kind.FALLBACK]),
    ],
)
def test_one_answer_in_fine_weather(answer: Answer, kinds: list[Kind]) -> None:
    """What it shows against what was true, by its mark and its age."""
    run = a_run()
    run.answers.append(answer)

    assert kinds == found(run)


def test_bad_weather_widens_the_bounds_and_no_more() -> None:
    """An answer marked fresh may lag for 8 s then; time that a fault touched does not age it otherwise."""
    run = a_run()
    run.happened.append(a_fault(began=4.0, ended=9.0, aftermath=2.0))
    run.answers += [
        an_answer(2, at=10.9),
        an_answer(2, at=11.1),
        an_answer(2, at=15.9, state="stale"),
        an_answer(2, at=16.1, state="stale"),
    ]

    assert [Kind.WRONG, Kind.OLD] == found(run)


def test_what_touches_only_fetches_widens_nothing_for_the_feed() -> None:
    """The feed sends the change, so an answer marked fresh has no excuse."""
    run = a_run()
    fault = a_fault("Edge down", began=2.0, ended=9.0)
    fault.breaks_feed = False
    run.happened.append(fault)
    run.answers += [an_answer(2, at=4.9), an_answer(2, at=5.1), an_answer(2, at=5.1, state="suspect")]

    assert [(Kind.WRONG, 5.1)] == [(each.kind, each.at) for each in judge(run).violations]


@pytest.mark.parametrize(("late_seconds", "kinds"), [(0.2, [Kind.FALLBACK]), (0.25, [])])
def test_a_fetch_takes_its_time_on_a_busy_computer(late_seconds: float, kinds: list[Kind]) -> None:
    """The budget of a fetch is a second; a customer who is asked for the first time gets a fallback then."""
    run = a_run()
    run.starved_seconds = late_seconds
    run.answers.append(an_answer(None, at=3.5, state=""))

    assert kinds == found(run)


def test_a_busy_computer_widens_the_bounds_of_time() -> None:
    """By what the client saw of it; wrong is wrong all the same."""
    run = a_run()
    run.starved_seconds = 0.25
    run.answers += [
        an_answer(2, at=5.9, line="a/1"),
        an_answer(2, at=9.9, state="stale", line="a/2"),
        an_answer(3, at=3.4, seconds=2.9, method="ofrep"),
        an_answer(4, at=3.5, line="b/1"),
        an_answer(2, at=6.1, line="b/2"),
        an_answer(3, at=3.6, seconds=3.1, method="ofrep"),
    ]

    assert [(3.5, Kind.WRONG), (3.6, Kind.SLOW), (6.1, Kind.WRONG)] == [
        (each.at, each.kind) for each in judge(run).violations
    ]


def test_one_connection_never_goes_back() -> None:
    """Unless it was lost meanwhile, or the calls were under way together."""
    run = a_run()
    run.answers += [
        an_answer(3, at=3.1),
        an_answer(2, at=3.105, state="suspect"),
        an_answer(2, at=3.2, state="suspect", epoch=1),
        an_answer(2, at=3.2, state="suspect", line="a/1"),
        an_answer(2, at=3.3, state="suspect"),
    ]

    assert [(Kind.WRONG, 3.3)] == [(each.kind, each.at) for each in judge(run).violations]


def test_fallback_of_what_the_same_worker_held() -> None:
    """In any weather."""
    run = a_run()
    run.happened.append(a_fault(family="redis", began=0.0, ended=20.0))
    run.answers += [an_answer(3, at=3.1), an_answer(None, at=4.0, state="", epoch=1)]
    assert [] == found(run)

    run.answers.append(an_answer(None, at=4.0, state=""))

    assert [Kind.FALLBACK] == found(run)


def test_fallback_of_what_redis_held() -> None:
    """As long as nothing had happened to Redis."""
    run = a_run()
    run.happened.append(a_fault(began=0.0, ended=20.0))
    run.answers += [an_answer(3, at=3.1), an_answer(None, at=4.5, state="", line="b/0")]
    assert [Kind.FALLBACK] == found(run)

    run.happened.append(a_fault("Redis killed", family="redis", began=4.0, ended=5.0))

    assert [] == found(run)


def test_a_read_that_nobody_answered() -> None:
    """Whatever happened."""
    run = a_run()
    run.happened.append(a_fault("sidecar killed", family="process", began=0.0, ended=20.0))
    run.failed_reads.append(FailedRead(customer_id="c", method="v2", started=4.0, ended=5.0))

    assert [Kind.FAILED] == found(run)


@pytest.mark.parametrize(
    ("fault", "line", "at", "kinds"),
    [
        ("sidecar killed", "a/1", 4.0, []),
        ("sidecar killed", "b/1", 4.0, [Kind.FAILED]),
        ("sidecar killed", "a/1", 6.6, [Kind.FAILED]),
        ("worker paused", "a/1", 4.0, []),
        ("sidecar rolled", "a/1", 4.0, [Kind.FAILED]),
        ("cloud down", "a/1", 4.0, [Kind.FAILED]),
    ],
)
def test_a_call_that_one_instance_did_not_answer(fault: str, line: str, at: float, kinds: list[Kind]) -> None:
    """Excused only where that instance was dead or paused; to roll it is no excuse."""
    run = a_run()
    run.happened.append(a_fault(fault, began=3.0, ended=6.0))
    run.failed_tries.append(
        FailedTry(line=line, method="v2", started=at, ended=at + 0.1, status="UNAVAILABLE")
    )

    assert kinds == found(run)


@pytest.mark.parametrize(
    ("status", "times", "is_given_up", "kinds"),
    [
        ("OK", 1, False, []),
        ("OK", 0, False, [Kind.LOST]),
        ("OK", 0, True, []),
        ("OK", 2, False, [Kind.TWICE]),
        ("UNAVAILABLE", 0, False, []),
        ("UNAVAILABLE", 1, False, []),
        ("UNAVAILABLE", 2, False, [Kind.TWICE]),
    ],
)
def test_writes(status: str, times: int, is_given_up: bool, kinds: list[Kind]) -> None:
    """Promised ones are counted once, all others at most once."""
    run = a_run()
    run.writes["e:1"] = Write(identity="e:1", started=1.0, ended=2.0, status=status, is_given_up=is_given_up)
    run.counted = {"e:1": times} if times else {}

    assert kinds == found(run)


def test_a_meter_that_stays_wrong() -> None:
    """In the end it shows what the cloud counted."""
    run = a_run()
    run.usage = {"m1": (3.0, 3.0), "m2": (2.0, 3.0)}

    assert [Kind.WRONG] == found(run)


def test_a_run_that_never_healed() -> None:
    """It is said what was still wrong."""
    run = a_run()
    run.heal_seconds, run.unhealed = None, "nobody follows the feed"

    assert [(Kind.UNHEALED, "nobody follows the feed")] == [
        (violation.kind, violation.words) for violation in judge(run).violations
    ]


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ({}, []),
        ({"client_sockets": 9}, [Kind.LEAKED]),
        ({"peer_sockets": 4 + 6 * 2}, []),
        ({"peer_sockets": 4 + 6 * 2 + 1}, [Kind.LEAKED]),
        ({"processes": 7}, [Kind.LEAKED]),
        ({"threads": 10 + 6 * 8}, []),
        ({"threads": 10 + 6 * 8 + 1}, [Kind.LEAKED]),
        ({"cloud_sockets": 2 + 6 * 8 + 1}, [Kind.LEAKED]),
        ({"redis_sockets": 4 + 6 * 8 + 1}, [Kind.LEAKED]),
    ],
)
def test_what_is_left_open(values: dict[str, int], kinds: list[Kind]) -> None:
    """Nothing, but for pools that have a bound."""
    run = a_run()
    run.resources += [some_resources(), some_resources(**values)]

    assert kinds == found(run)


def test_a_process_that_died_by_itself() -> None:
    """Also where no client noticed."""
    run = a_run()
    run.deaths.append(Death(words="a worker ended"))

    assert [Kind.DIED] == found(run)


@pytest.mark.parametrize(("tasks", "kinds"), [(132, []), (133, [Kind.LEAKED])])
def test_tasks_that_are_left(tasks: int, kinds: list[Kind]) -> None:
    """A few may be at work."""
    run = a_run()
    run.resources += [some_resources(), some_resources()]
    run.tasks = (100, tasks)

    assert kinds == found(run)
