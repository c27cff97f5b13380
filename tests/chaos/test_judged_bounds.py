"""The judge of bounds finds what goes beyond, and lets pass what does not."""

import pytest

from tests.chaos.judge import judge
from tests.chaos.judged_bounds import CROWD
from tests.chaos.load_faults import ACTS
from tests.chaos.records import Asked, Grant, Happened, OverrideSeen, Run
from tests.chaos.verdict import Kind


def a_run() -> Run:
    return Run(seed=1, began=0.0, ended=100.0, heal_seconds=1.0, edge_per_minute=60)


def found(run: Run) -> list[Kind]:
    return [violation.kind for violation in judge(run).violations]


@pytest.mark.parametrize(
    ("at", "is_granted", "kinds"),
    [
        (2.0, True, []),
        (8.0, True, []),
        (8.2, True, [Kind.OVERRIDDEN]),
        (8.2, False, []),
        (0.5, True, [Kind.OVERRIDDEN]),
        (21.0, True, []),
    ],
)
def test_no_override_outlives_its_time(at: float, is_granted: bool, kinds: list[Kind]) -> None:
    """One ended at 7 s, another is being made since 20 s; before the first there was none."""
    run = a_run()
    run.grants = [Grant(began=1.0, ends_by=7.0), Grant(began=20.0)]
    run.overrides_seen = [OverrideSeen(instance="a", started=at, ended=at + 0.1, is_granted=is_granted)]

    assert kinds == found(run)


@pytest.mark.parametrize(("apart_seconds", "kinds"), [(1.0, []), (0.98, [Kind.SPENT])])
def test_the_budget_is_kept_in_every_minute(apart_seconds: float, kinds: list[Kind]) -> None:
    """Only the Edge counts; the fullest minute is that in the middle."""
    run = a_run()
    run.asked = [Asked(at=10 + number * apart_seconds, kind="edge") for number in range(80)]
    run.asked += [Asked(at=20.0, kind="graphql:ReportUsage")] * 50

    assert kinds == found(run)


@pytest.mark.parametrize(("requests", "kinds"), [(75, []), (76, [Kind.ROUGH])])
def test_a_recovery_is_no_rush(requests: int, kinds: list[Kind]) -> None:
    """Twice the steady rate of 7 a second for 5 s, and the 5 that the budget gives at once."""
    run = a_run()
    cloud = Happened(fault="cloud down", family="cloud", targets=("a",), began=3.0, ended=9.0)
    run.happened = [cloud, Happened(fault="disk full", family="disk", targets=("a",), began=3.0, ended=50.0)]
    run.asked = [Asked(at=9 + number / 100, kind="graphql:ReportUsage") for number in range(requests)]
    run.asked += [Asked(at=50.1, kind="graphql:ReportUsage")] * 100

    assert kinds == found(run)


def test_no_redirection_is_followed() -> None:
    """The key would be shown to whoever listens there."""
    run = a_run()
    run.redirected = 2

    assert [Kind.LURED] == found(run)


@pytest.mark.parametrize(("began", "kinds"), [(13.0, []), (14.5, [Kind.ROUGH])])
def test_a_crowd_that_comes_during_a_recovery_is_no_rush(began: float, kinds: list[Kind]) -> None:
    """Of ten thousand customers whom nobody knew each is asked for (seed 46)."""
    run = a_run()
    cloud = Happened(fault="cloud slow", family="cloud", targets=("a",), began=3.0, ended=9.0)
    crowd = Happened(fault=CROWD, family="load", targets=(), began=began, ended=50.0)
    run.happened = [cloud, crowd]
    run.asked = [Asked(at=9 + number / 100, kind="graphql:X") for number in range(100)]

    assert kinds == found(run)


def test_the_crowd_has_the_name_of_its_fault() -> None:
    """Who renames one renames both."""
    assert CROWD in ACTS
