"""What was found is counted, and kept within a bound; what lasts apart from what does not."""

from typing import Any

import pytest

from entitlements import metrics
from entitlements.domain.difference import Constancy, Difference
from entitlements.service.shadow_ledger import FAILURES_UNTIL_AWAY, KEPT, ComparedRead, ShadowLedger
from tests.fakes import FakeClock

LIMIT = Difference("usage_limit", "", "10", "11")
USED = Difference("current_usage", "", "1", "2")
METHOD = "GetEntitlementV2"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ledger(clock: FakeClock) -> ShadowLedger:
    return ShadowLedger(address="other:80", clock=clock)


def read(**differences: Constancy) -> ComparedRead:
    by_name = {"limit": LIMIT, "used": USED}
    return ComparedRead(
        method=METHOD,
        customer="c",
        resource="",
        feature="f",
        differences={by_name[name]: constancy for name, constancy in differences.items()},
        our_knowledge="memory",
        their_knowledge="",
    )


def counted(metric: Any, field: str) -> float:
    value: float = metric.labels(METHOD, field)._value.get()
    return value


def test_what_lasts_is_counted_by_method_and_field_and_kept_apart(ledger: ShadowLedger) -> None:
    before = [
        counted(metric, field)
        for metric in (metrics.SHADOW_DIFFERENCES, metrics.SHADOW_TRANSIENT_DIFFERENCES)
        for field in (LIMIT.field, USED.field)
    ]

    ledger.differed("a", read(limit=Constancy.LASTING, used=Constancy.TRANSIENT))
    ledger.differed("b", read(used=Constancy.TRANSIENT))
    ledger.differed("c", read(used=Constancy.UNDECIDED, limit=Constancy.TRANSIENT))

    after = [
        counted(metric, field)
        for metric in (metrics.SHADOW_DIFFERENCES, metrics.SHADOW_TRANSIENT_DIFFERENCES)
        for field in (LIMIT.field, USED.field)
    ]
    assert [1, 0, 1, 2] == [now - then for now, then in zip(after, before, strict=True)]
    assert {"same": 0, "lasting": 1, "transient": 1, "undecided": 1, "failed": 0} == ledger.counts
    assert 1 == len(ledger.lasting)
    assert 2 == len(ledger.others)


def test_the_last_hundred_questions_are_kept(ledger: ShadowLedger, clock: FakeClock) -> None:
    """One that is found again moves to the front, and does not push out the others."""
    for number in range(KEPT + 5):
        ledger.differed(number, read(limit=Constancy.LASTING))
    clock.advance(1)
    for _ in range(KEPT):
        ledger.differed(50, read(limit=Constancy.LASTING))

    first = ledger.lasting[0]
    assert KEPT == len(ledger.lasting)
    assert KEPT + 1 == first.times
    assert clock.now_ms() == first.found_at_ms


def test_one_that_does_not_answer_is_away_until_it_does(ledger: ShadowLedger) -> None:
    for _ in range(FAILURES_UNTIL_AWAY - 1):
        ledger.failed(METHOD, "DEADLINE_EXCEEDED")
    before = ledger.is_away

    ledger.failed(METHOD, "UNAVAILABLE")

    away = ledger.is_away
    ledger.agreed(METHOD)
    assert not before
    assert away
    assert not ledger.is_away
    assert "UNAVAILABLE" == ledger.last_failure
