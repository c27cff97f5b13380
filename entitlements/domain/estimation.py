"""What a report will probably make of a meter, while the cloud cannot say."""

from entitlements.domain.entitlement import NO_TIMESTAMP_MS, FeatureEntitlement, MeteredEntitlement
from entitlements.domain.entity import Entity, UsageUpdate
from entitlements.domain.evaluation import in_current_period
from entitlements.domain.usage import UpdateBehavior, UsageReport


def estimated(entity: Entity, report: UsageReport, *, now_ms: int) -> UsageUpdate | None:
    """The meter as moved by the report, or None when the entity has no such meter or its period is another.

    It carries the timestamp of what it is based on, so that anything newer from the cloud replaces it.
    """
    held = entity.features.get(report.feature_id)
    terms = None if held is None else in_current_period(held, now_ms=now_ms)
    if not isinstance(terms, MeteredEntitlement):
        return None
    if report.created_at_ms is not None and report.created_at_ms < _period_start_ms(held, terms):
        return None
    replaces = report.update_behavior is UpdateBehavior.SET
    return UsageUpdate(
        feature_id=report.feature_id,
        current=report.value if replaces else terms.usage.current + report.value,
        updated_at_ms=terms.usage.updated_at_ms,
        period_start_ms=terms.usage.period_start_ms,
        period_end_ms=terms.usage.period_end_ms,
        is_estimate=True,
    )


def _period_start_ms(held: FeatureEntitlement | None, current: MeteredEntitlement) -> int:
    """Where the current period begins: at the latest where the held one has ended."""
    if current.usage.period_start_ms is not None:
        return current.usage.period_start_ms
    if current is not held and isinstance(held, MeteredEntitlement):
        return held.usage.period_end_ms or NO_TIMESTAMP_MS
    return NO_TIMESTAMP_MS
