"""Readiness is one switch; the parts report their own state, and since when it is so."""

import asyncio
from typing import Any

import pytest

from entitlements import metrics
from entitlements.service import health as module
from entitlements.service.health import Health, PartState
from tests.fakes import FakeClock


def test_serving_between_start_and_stop() -> None:
    """Not before all listeners are up, not while draining; the gauge says the same."""
    health = Health(FakeClock())
    states = [health.is_serving]
    health.start_serving()
    states += [health.is_serving, metrics.READY._value.get() == 1]
    health.stop_serving()
    states += [health.is_serving, metrics.READY._value.get() == 1]

    assert [False, True, True, False, False] == states


def test_uptime() -> None:
    clock = FakeClock()
    health = Health(clock)
    clock.advance(90)

    assert 90 == health.uptime_seconds


def test_a_part_reports_its_problem_since_when_and_what_it_means() -> None:
    """A problem that stays keeps its time; another one, or none, has a time of its own."""
    clock = FakeClock()
    health = Health(clock)
    problem: list[str | None] = [None]
    health.add_part(
        "redis", lambda: PartState(problem=problem[0], meaning="So.", details={"answering": True})
    )
    reported: list[Any] = []
    for now in (None, "not_answering", "not_answering", None):
        problem[0] = now
        reported.append(health.parts()["redis"])
        clock.advance(60)

    assert {
        "problem": "not_answering",
        "since": "2025-06-15T15:07:40+00:00",
        "meaning": "So.",
        "last_well": "2025-06-15T15:06:40+00:00",
        "last_problem": {
            "problem": "not_answering",
            "meaning": "So.",
            "seen": "2025-06-15T15:07:40+00:00",
        },
        "answering": True,
    } == reported[1]
    assert reported[1]["since"] == reported[2]["since"]
    assert reported[2]["last_problem"] | {"problem": None} == reported[3]["last_problem"] | {"problem": None}
    assert "2025-06-15T15:06:40+00:00" == reported[2]["last_well"]
    assert "2025-06-15T15:09:40+00:00" == reported[3]["last_well"]
    assert "2025-06-15T15:06:40+00:00" == reported[0]["since"]
    assert "2025-06-15T15:09:40+00:00" == reported[3]["since"]


async def test_since_is_right_also_when_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts are looked at all the time."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    clock, looks = FakeClock(), asyncio.Queue[None]()
    health = Health(clock)
    problem: list[str | None] = [None]

    def state() -> PartState:
        looks.put_nowait(None)
        return PartState(problem=problem[0], meaning="So.")

    health.add_part("redis", state)
    watching = asyncio.create_task(health.watch())
    await looks.get()
    problem[0] = "not_answering"
    while not looks.empty():
        looks.get_nowait()
    await looks.get()
    watching.cancel()
    clock.advance(3600)

    assert "2025-06-15T15:06:40+00:00" == health.parts()["redis"]["since"]


def test_an_alert_can_rest_on_the_problem_that_a_part_has() -> None:
    """One series for each problem: 1 while it lasts, 0 when another one or none took its place."""
    health = Health(FakeClock())
    problem: list[str | None] = [None]
    health.add_part("tried", lambda: PartState(problem=problem[0], meaning="So."))
    reported = []
    for problem[0] in (None, "lost", "refused", None):
        health.parts()
        reported.append(
            [metrics.PART_PROBLEM.labels("tried", each)._value.get() for each in ("lost", "refused")]
        )

    assert [[0, 0], [1, 0], [0, 1], [0, 0]] == reported
