"""What a report will probably make of a meter."""

from dataclasses import replace

import pytest

from entitlements.domain.entitlement import MeteredEntitlement, Usage
from entitlements.domain.entity import EntityKey, with_usage
from entitlements.domain.estimation import estimated
from entitlements.domain.usage import UpdateBehavior, UsageReport
from tests.builders import a_metered_feature, a_usage, an_entity

ENTITY = an_entity(a_metered_feature("f", usage=a_usage(3, updated_at_ms=7)))


def _report(behavior: UpdateBehavior | None, *, value: float = 2, feature_id: str = "f") -> UsageReport:
    return UsageReport(
        key=EntityKey("c"),
        feature_id=feature_id,
        value=value,
        idempotency_key="i",
        update_behavior=behavior,
    )


def _moved(report: UsageReport) -> Usage:
    update = estimated(ENTITY, report, now_ms=0)
    assert update is not None
    moved = with_usage(ENTITY, update)
    assert moved is not None
    terms = moved.features["f"]
    assert isinstance(terms, MeteredEntitlement)
    return terms.usage


@pytest.mark.parametrize(
    ("behavior", "value", "current"),
    [
        (None, 2, 5),
        (UpdateBehavior.DELTA, 2, 5),
        (UpdateBehavior.DELTA, -1, 2),
        (UpdateBehavior.SET, 2, 2),
        (UpdateBehavior.SET, 9, 9),
    ],
)
def test_meter_moves_and_is_marked(behavior: UpdateBehavior | None, value: float, current: float) -> None:
    """DELTA adds, SET replaces; the timestamp stays the cloud's own, so that its next word wins."""
    usage = _moved(_report(behavior, value=value))

    assert current == usage.current
    assert 7 == usage.updated_at_ms
    assert usage.is_estimate


def test_what_is_not_metered_is_not_estimated() -> None:
    """Nor what is not known."""
    assert estimated(ENTITY, _report(None, feature_id="unknown"), now_ms=0) is None


@pytest.mark.parametrize("end_is_over", [False, True], ids=["current period known", "held period over"])
@pytest.mark.parametrize(("created_at_ms", "counts"), [(99, False), (100, True), (150, True)])
def test_report_of_a_former_period_is_not_counted(
    created_at_ms: int, counts: bool, end_is_over: bool
) -> None:
    """It is last month's usage, whenever it is reported."""
    usage = a_usage(3, period_end_ms=100) if end_is_over else a_usage(3, period_start_ms=100)
    report = replace(_report(None), created_at_ms=created_at_ms)

    update = estimated(an_entity(a_metered_feature("f", usage=usage)), report, now_ms=160)

    assert counts is (update is not None)
