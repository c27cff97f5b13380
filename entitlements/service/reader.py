"""A check or a list: what is held, then the cloud, then a fallback; each with where it came from."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from typing import TypeAlias

from entitlements import metrics
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.decision import Decision, Query, invalid_field
from entitlements.domain.entitlement import MeteredEntitlement
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.errors import Offline
from entitlements.domain.evaluation import (
    EntitlementList,
    decide_by_fallback,
    evaluate,
    evaluate_list,
    list_by_fallback,
    list_needs_recalculation,
    needs_recalculation,
)
from entitlements.domain.freshness import EntityState, state_of
from entitlements.domain.override import Override, Overrides
from entitlements.domain.overriding import NOTHING_KNOWN, decide_by_override, overridden_list
from entitlements.domain.ports import Clock, EntityStore, FallbackRules, Lookup, Source, Trusted
from entitlements.domain.reason import AccessDeniedReason
from entitlements.domain.steps import NO_TRAIL, Rule, Trail
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.service.fetcher import EntityFetcher, NotFetched
from entitlements.service.revalidator import Revalidator

logger = logging.getLogger(__name__)

RECHECK_INTERVAL_SECONDS = 1.0
"""One entity is asked for again no sooner than this after the last time."""
TOO_MANY_READS = "too_many_reads"
"""The cause of a fallback: as many reads wait for the cloud as may."""
OTHER_FEATURE = "other"
"""The metric's label for a feature that no fallback is configured for: what callers send is unbounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where an answer came from."""

    source: Source
    state: EntityState | None = None
    """None when nothing is held, so that nothing can be fresh."""
    age_ms: int | None = None
    """Since the entity was last confirmed by the cloud."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a check."""

    decision: Decision
    provenance: Provenance
    known: Lookup | None = None
    """None when nothing was known."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All that was decided."""
        return (self.decision,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAnswer:
    """The answer to a list."""

    entitlements: EntitlementList
    provenance: Provenance
    known: Lookup | None = None
    """None when nothing was known."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All that was decided."""
        return self.entitlements.decisions


class EntitlementReader:
    """Reads never fail for reasons of content or upstream (contract/grpc.md, Status codes)."""

    def __init__(  # noqa: PLR0913 - all that a read rests on
        self,
        *,
        store: EntityStore,
        fetcher: EntityFetcher,
        revalidator: Revalidator,
        feed: Trusted,
        rules: FallbackRules,
        overrides: Overrides,
        clock: Clock,
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._revalidator = revalidator
        self._feed = feed
        self._rules = rules
        self._overrides = overrides
        self._clock = clock
        self._invalid_log = RateLimitedLog(logger, clock.monotonic)

    async def check(self, query: Query, *, trail: Trail = NO_TRAIL) -> Answer:
        """The decision on a query, whatever happens; the trail notes every rule on the way."""
        held = self.check_held(query, trail=trail)
        if held is not None:
            return held
        known = await self._know(query.key, lambda entity, now_ms: _is_expired(entity, query, now_ms))
        if isinstance(known, NotFetched):
            trail.note(Rule.DATA, AccessDeniedReason.UNKNOWN, known.error.outcome)
            return self._check_by_fallback(query, cause=known.error.outcome, trail=trail)
        return self._decided(query, known, trail=trail)

    def check_held(self, query: Query, *, trail: Trail = NO_TRAIL) -> Answer | None:
        """The decision as far as memory knows it, at once and from any thread; None: `check` must find it."""
        invalid = invalid_field(query)
        if invalid is not None:
            trail.note(Rule.QUESTION, AccessDeniedReason.UNKNOWN, invalid)
            return self._check_by_fallback(query, cause=self._note_invalid(invalid), trail=trail)
        known = self._know_held(query.key, lambda entity, now_ms: _is_expired(entity, query, now_ms))
        return None if known is None else self._decided(query, known, trail=trail)

    def check_unasked(self, query: Query) -> Answer:
        """The fallback, where too many wait for the cloud already."""
        return self._check_by_fallback(query, cause=TOO_MANY_READS, trail=NO_TRAIL)

    def list_unasked(self, key: EntityKey) -> ListAnswer:
        """As `check_unasked`."""
        return self._list_by_fallback(key, cause=TOO_MANY_READS)

    async def list(self, key: EntityKey) -> ListAnswer:
        """All that an entity is entitled to, whatever happens."""
        held = self.list_held(key)
        if held is not None:
            return held
        known = await self._know(key, _is_any_expired)
        if isinstance(known, NotFetched):
            return self._list_by_fallback(key, cause=known.error.outcome)
        return self._listed(known)

    def list_held(self, key: EntityKey) -> ListAnswer | None:
        """The list as far as memory knows it, at once and from any thread; None: `list` must find it."""
        if not key.customer_id:
            return self._list_by_fallback(key, cause=self._note_invalid("customer_id"))
        known = self._know_held(key, _is_any_expired)
        return None if known is None else self._listed(known)

    def _decided(self, query: Query, known: Lookup, *, trail: Trail) -> Answer:
        override = self._overrides.find(query)
        if override is not None:
            return self._overridden(query, override, known, trail=trail)
        rules, now_ms = self._rules.current(), self._clock.now_ms()
        trail.note(Rule.DATA)
        decision = evaluate(known.cached.entity, query, rules=rules, now_ms=now_ms, trail=trail)
        if decision.is_fallback:
            self._count_fallback(query.feature_id, cause="no_match")
        return Answer(decision=decision, provenance=self._provenance(known, decision), known=known)

    def _overridden(self, query: Query, override: Override, known: Lookup | None, *, trail: Trail) -> Answer:
        entity = NOTHING_KNOWN if known is None else known.cached.entity
        now_ms = self._clock.now_ms()
        decision = decide_by_override(entity, query, override, now_ms=now_ms, trail=trail)
        metrics.OVERRIDE_ANSWERS.labels("granted" if decision.has_access else "denied").inc()
        if known is None:
            return Answer(decision=decision, provenance=Provenance(source=Source.OVERRIDE))
        provenance = replace(self._provenance(known, decision), source=Source.OVERRIDE)
        return Answer(decision=decision, provenance=provenance, known=known)

    def _listed(self, known: Lookup) -> ListAnswer:
        entity, now_ms = known.cached.entity, self._clock.now_ms()
        entitlements = evaluate_list(entity, now_ms=now_ms)
        provenance = self._provenance(known, *entitlements.decisions)
        overrides = self._overrides.of(known.key)
        if overrides:
            entitlements = overridden_list(entitlements, entity, overrides, now_ms=now_ms)
            provenance = replace(provenance, source=Source.OVERRIDE)
        return ListAnswer(entitlements=entitlements, provenance=provenance, known=known)

    def _know_held(self, key: EntityKey, is_expired: "IsExpired") -> Lookup | None:
        """What memory holds, where it will do; it is re-checked in the background if need be."""
        cached = self._store.get(key)
        if cached is None or self._must_be_recalculated(key, cached, is_expired):
            return None
        metrics.CACHE_HITS.inc()
        return Lookup(key=key, cached=cached, source=Source.MEMORY)

    async def _know(self, key: EntityKey, is_expired: "IsExpired") -> Lookup | NotFetched:
        found = await self._store.find(key)
        if found is None:
            metrics.CACHE_MISSES.inc()
            return await self._fetcher.fetch(key)
        metrics.CACHE_HITS.inc()
        if self._must_be_recalculated(key, found.cached, is_expired):
            return await self._recalculated(key, found)
        return found

    def _must_be_recalculated(self, key: EntityKey, cached: CachedEntity, is_expired: "IsExpired") -> bool:
        """True when the cloud must be asked before this can answer; what is in doubt is re-checked.

        After a valid-until the cloud is waited for once; where that failed, the last known answers.
        """
        expired = is_expired(cached.entity, self._clock.now_ms())
        if not expired and self._state(cached) is EntityState.FRESH:
            return False
        if self._was_asked_lately(cached):
            return False
        if expired and cached.failed_at is None:
            return True
        self._revalidator.recheck(key)
        return False

    async def _recalculated(self, key: EntityKey, known: Lookup) -> Lookup:
        """The cloud's answer, or else the last known, marked."""
        fetched = await self._fetcher.fetch(key)
        if not isinstance(fetched, NotFetched):
            return fetched
        failed_at = self._clock.monotonic()
        await self._store.mark_recheck_failed(key, at=failed_at)
        return replace(known, cached=replace(known.cached, failed_at=failed_at))

    def _was_asked_lately(self, cached: CachedEntity) -> bool:
        asked_at = cached.confirmed_at if cached.failed_at is None else cached.failed_at
        return self._clock.monotonic() - asked_at < RECHECK_INTERVAL_SECONDS

    def _state(self, cached: CachedEntity) -> EntityState:
        return state_of(cached, trust=self._feed.trust, now=self._clock.monotonic())

    def _provenance(self, known: Lookup, *decisions: Decision) -> Provenance:
        state = self._state(known.cached)
        if state is EntityState.STALE:
            metrics.STALE_ANSWERS.inc()
        if any(map(_rests_on_estimate, decisions)):
            state = EntityState.ESTIMATE
        age_seconds = self._clock.monotonic() - known.cached.confirmed_at
        age_ms = int(age_seconds * 1000) if isfinite(age_seconds) else None
        return Provenance(source=known.source, state=state, age_ms=age_ms)

    def _check_by_fallback(self, query: Query, *, cause: str, trail: Trail) -> Answer:
        override = self._overrides.find(query)
        if override is not None:
            return self._overridden(query, override, None, trail=trail)
        self._count_fallback(query.feature_id, cause=cause)
        decision = decide_by_fallback(query, rules=self._rules.current(), trail=trail)
        return Answer(decision=decision, provenance=_nothing_held(cause))

    def _list_by_fallback(self, key: EntityKey, *, cause: str) -> ListAnswer:
        self._count_fallback(OTHER_FEATURE, cause=cause)
        entitlements, provenance = list_by_fallback(rules=self._rules.current()), _nothing_held(cause)
        overrides = self._overrides.of(key)
        if overrides:
            now_ms = self._clock.now_ms()
            entitlements = overridden_list(entitlements, NOTHING_KNOWN, overrides, now_ms=now_ms)
            provenance = Provenance(source=Source.OVERRIDE)
        return ListAnswer(entitlements=entitlements, provenance=provenance)

    def _count_fallback(self, feature_id: str, *, cause: str) -> None:
        label = feature_id if feature_id in self._rules.current() else OTHER_FEATURE
        metrics.FALLBACKS.labels(cause, label).inc()

    def _note_invalid(self, field: str) -> str:
        metrics.INVALID_READS.labels(field).inc()
        self._invalid_log.warning(
            field, "a read was answered by its fallback because %s is not usable", field
        )
        return "invalid"


IsExpired: TypeAlias = Callable[[Entity, int], bool]


def _is_expired(entity: Entity, query: Query, now_ms: int) -> bool:
    return needs_recalculation(entity, query, now_ms=now_ms)


def _is_any_expired(entity: Entity, now_ms: int) -> bool:
    return list_needs_recalculation(entity, now_ms=now_ms)


def _nothing_held(cause: str) -> Provenance:
    return Provenance(source=Source.OFFLINE if cause == Offline.outcome else Source.FALLBACK)


def _rests_on_estimate(decision: Decision) -> bool:
    return isinstance(decision.basis, MeteredEntitlement) and decision.basis.usage.is_estimate
