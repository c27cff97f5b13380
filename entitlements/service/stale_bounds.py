"""How stale is too stale: past a bound the fallback answers for what could not be confirmed."""

from dataclasses import replace

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.decision import Decision, Query
from entitlements.domain.entitlement import EntitlementKind
from entitlements.domain.evaluation import EntitlementList, decide_by_fallback
from entitlements.domain.ports import FallbackRules, Lookup

TOO_STALE = "too_stale"
"""The cause of a fallback: what is known was confirmed too long ago, and could not be confirmed again."""


class StaleBounds:
    """The bounds in force: of a feature's fallback rule, else SIDECAR_MAX_STALE_SECONDS."""

    def __init__(self, *, rules: FallbackRules, max_stale_seconds: float | None) -> None:
        self._rules = rules
        self._max_stale_seconds = max_stale_seconds

    def are_passed(self, feature_id: str, cached: CachedEntity, *, now: float) -> bool:
        """True when it was confirmed longer ago than this feature may be answered unconfirmed."""
        rule = self._rules.current().get(feature_id)
        max_seconds = None if rule is None else rule.max_stale_seconds
        if max_seconds is None:
            max_seconds = self._max_stale_seconds
        return max_seconds is not None and now - cached.confirmed_at > max_seconds

    def are_any_passed(self, cached: CachedEntity, *, now: float) -> bool:
        """The same for any feature that it holds."""
        return any(self.are_passed(each, cached, now=now) for each in cached.entity.features)

    def is_too_stale(self, feature_id: str, cached: CachedEntity, *, now: float) -> bool:
        """True when the fallback must answer: the bound is passed, and the cloud was asked in vain."""
        return cached.failed_at is not None and self.are_passed(feature_id, cached, now=now)

    def within(self, entitlements: EntitlementList, known: Lookup, *, now: float) -> EntitlementList:
        """The list, with the fallback's decision on each that is too stale."""
        if known.cached.failed_at is None:
            return entitlements
        decisions = tuple(self._decision_within(each, known, now) for each in entitlements.decisions)
        return replace(entitlements, decisions=decisions)

    def _decision_within(self, decision: Decision, known: Lookup, now: float) -> Decision:
        is_credit = decision.kind is EntitlementKind.CREDIT
        feature_id = "" if is_credit else decision.id
        if not self.are_passed(feature_id, known.cached, now=now):
            return decision
        currency_id = decision.id if is_credit else None
        query = Query(
            key=known.key,
            feature_id=feature_id,
            currency_id=currency_id,
            expected_kind=None if is_credit else decision.kind,
        )
        return decide_by_fallback(query, rules=self._rules.current())
