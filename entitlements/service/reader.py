"""A check or a list: what is held, then the cloud, then a fallback; each with where it came from."""

import logging
from dataclasses import replace
from math import isfinite

from entitlements import metrics
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.decision import Decision, Query, invalid_field
from entitlements.domain.entitlement import MeteredEntitlement
from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import Offline
from entitlements.domain.evaluation import (
    decide_by_fallback,
    evaluate,
    evaluate_list,
    list_by_fallback,
    needs_recalculation,
)
from entitlements.domain.freshness import EntityState, state_of
from entitlements.domain.override import Override
from entitlements.domain.overrides import Overrides
from entitlements.domain.overriding import NOTHING_KNOWN, decide_by_override, overridden_list
from entitlements.domain.ports import Clock, EntityStore, FallbackRules, Lookup, Source, Trusted
from entitlements.domain.reason import AccessDeniedReason
from entitlements.domain.steps import NO_TRAIL, Rule, Trail
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.service.answers import Answer, ListAnswer, Provenance, Seen
from entitlements.service.fetcher import EntityFetcher
from entitlements.service.flight import NotFetched
from entitlements.service.revalidator import Revalidator
from entitlements.service.stale_bounds import TOO_STALE, StaleBounds

logger = logging.getLogger(__name__)

RECHECK_INTERVAL_SECONDS = 1.0
"""One entity is asked for again no sooner than this after the last time."""
_TIERS = frozenset({Source.MEMORY, Source.REDIS})
TOO_MANY_READS = "too_many_reads"
"""The cause of a fallback: as many reads wait for the cloud as may."""
OTHER_FEATURE = "other"
"""The metric's label for a feature that no fallback is configured for: what callers send is unbounded."""


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
        stale_bounds: StaleBounds,
        clock: Clock,
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._revalidator = revalidator
        self._feed = feed
        self._rules = rules
        self._overrides = overrides
        self._stale_bounds = stale_bounds
        self._clock = clock
        self._invalid_log = RateLimitedLog(logger, clock.monotonic)

    async def check(self, query: Query, *, trail: Trail = NO_TRAIL) -> Answer:
        """The decision on a query, whatever happens; the trail notes every rule on the way."""
        held = self.check_held(query, trail=trail)
        return held if isinstance(held, Answer) else await self.check_later(query, held, trail=trail)

    def check_held(self, query: Query, *, trail: Trail = NO_TRAIL) -> Answer | Lookup | None:
        """The decision as far as memory knows it, at once and from any thread; else what `check_later` needs.

        That is what memory holds where the cloud must confirm it first, and None where it holds nothing.
        """
        invalid = invalid_field(query)
        if invalid is not None:
            trail.note(Rule.QUESTION, AccessDeniedReason.UNKNOWN, invalid)
            return self._check_by_fallback(query, cause=self._note_invalid(invalid), trail=trail)
        seen = self._held(query.key, query)
        return self._decided(query, seen, trail=trail) if isinstance(seen, Seen) else seen

    async def check_later(self, query: Query, held: Lookup | None, *, trail: Trail = NO_TRAIL) -> Answer:
        """The decision where `check_held` had none but this."""
        seen = await self._know(query.key, held, query)
        if isinstance(seen, NotFetched):
            trail.note(Rule.DATA, AccessDeniedReason.UNKNOWN, seen.error.outcome)
            return self._check_by_fallback(query, cause=seen.error.outcome, trail=trail)
        return self._decided(query, seen, trail=trail)

    def check_unasked(self, query: Query) -> Answer:
        """The fallback, where too many wait for the cloud already."""
        return self._check_by_fallback(query, cause=TOO_MANY_READS, trail=NO_TRAIL)

    def list_unasked(self, key: EntityKey) -> ListAnswer:
        """As `check_unasked`."""
        return self._list_by_fallback(key, cause=TOO_MANY_READS)

    async def list(self, key: EntityKey) -> ListAnswer:
        """All that an entity is entitled to, whatever happens."""
        held = self.list_held(key)
        return held if isinstance(held, ListAnswer) else await self.list_later(key, held)

    def list_held(self, key: EntityKey) -> ListAnswer | Lookup | None:
        """The list as far as memory knows it; else what `list_later` needs, as `check_held`."""
        if not key.customer_id:
            return self._list_by_fallback(key, cause=self._note_invalid("customer_id"))
        seen = self._held(key, None)
        return self._listed(seen) if isinstance(seen, Seen) else seen

    async def list_later(self, key: EntityKey, held: Lookup | None) -> ListAnswer:
        """The list where `list_held` had none but this."""
        seen = await self._know(key, held, None)
        if isinstance(seen, NotFetched):
            return self._list_by_fallback(key, cause=seen.error.outcome)
        return self._listed(seen)

    def _held(self, key: EntityKey, query: Query | None) -> Seen | Lookup | None:
        """What can be answered from memory alone; else what memory holds, if anything."""
        cached = self._store.get(key)
        if cached is None:
            return None
        seen = self._seen(Lookup(key=key, cached=cached, source=Source.MEMORY))
        if seen.trust.must_look(cached, seen.now) or self._must_be_recalculated(seen, query):
            return seen.known
        metrics.CACHE_HITS_AT_ONCE.count()
        return seen

    def _seen(self, known: Lookup) -> Seen:
        """What is known, as of one moment: all that this read says of time is about it."""
        now, now_ms = self._clock.both()
        trust = self._feed.trust
        return Seen(known, state_of(known.cached, trust=trust, now=now), trust, now, now_ms)

    def _decided(self, query: Query, seen: Seen, *, trail: Trail) -> Answer:
        override = self._overrides.find(query)
        if override is not None:
            return self._overridden(query, override, seen, trail=trail)
        cached = seen.known.cached
        if cached.failed_at is not None and self._are_bounds_passed(query, cached, now=seen.now):
            trail.note(Rule.DATA, AccessDeniedReason.UNKNOWN, TOO_STALE)
            answer = self._check_by_fallback(query, cause=TOO_STALE, trail=trail)
            provenance = _provenance(seen, is_estimate=False, source=Source.FALLBACK)
            return replace(answer, provenance=provenance)
        trail.note(Rule.DATA)
        decision = evaluate(
            cached.entity, query, rules=self._rules.current(), now_ms=seen.now_ms, trail=trail
        )
        if decision.is_fallback:
            self._count_fallback(query.feature_id, cause="no_match")
        provenance = _provenance(seen, is_estimate=_rests_on_estimate(decision))
        return Answer(decision=decision, provenance=provenance, seen=seen)

    def _overridden(self, query: Query, override: Override, seen: Seen | None, *, trail: Trail) -> Answer:
        entity = NOTHING_KNOWN if seen is None else seen.known.cached.entity
        now_ms = self._clock.now_ms() if seen is None else seen.now_ms
        decision = decide_by_override(entity, query, override, now_ms=now_ms, trail=trail)
        metrics.OVERRIDE_ANSWERS.labels("granted" if decision.has_access else "denied").inc()
        if seen is None:
            return Answer(decision=decision, provenance=Provenance(source=Source.OVERRIDE))
        provenance = _provenance(seen, is_estimate=_rests_on_estimate(decision), source=Source.OVERRIDE)
        return Answer(decision=decision, provenance=provenance, seen=seen)

    def _listed(self, seen: Seen) -> ListAnswer:
        entity = seen.known.cached.entity
        listed = evaluate_list(entity, now_ms=seen.now_ms)
        entitlements = self._stale_bounds.within(listed, seen.known, now=seen.now)
        is_estimate = any(map(_rests_on_estimate, entitlements.decisions))
        overrides = self._overrides.of(seen.known.key)
        if overrides:
            entitlements = overridden_list(entitlements, entity, overrides, now_ms=seen.now_ms)
        source = Source.OVERRIDE if overrides else None
        provenance = _provenance(seen, is_estimate=is_estimate, source=source)
        return ListAnswer(entitlements=entitlements, provenance=provenance, seen=seen)

    async def _know(self, key: EntityKey, held: Lookup | None, query: Query | None) -> Seen | NotFetched:
        """What is known once it has been waited for; memory is looked at anew only where it held nothing."""
        if held is None or self._feed.trust.must_look(held.cached, self._clock.monotonic()):
            found = await (self._found(key) if held is None else self._looked_at(held))
            if isinstance(found, NotFetched) or found.source not in _TIERS:
                metrics.CACHE_MISSES.inc()
                return found if isinstance(found, NotFetched) else self._seen(found)
            held = found
            seen = self._seen(held)
            if not self._must_be_recalculated(seen, query):
                metrics.CACHE_HITS.inc()
                return seen
        metrics.CACHE_HITS.inc()
        return self._seen(await self._recalculated(key, held))

    async def _found(self, key: EntityKey) -> Lookup | NotFetched:
        """What any tier holds by now, or else the cloud says."""
        cached = self._store.get(key)
        if cached is not None:
            return Lookup(key=key, cached=cached, source=Source.MEMORY)
        return await self._fetcher.find(key)

    async def _looked_at(self, held: Lookup) -> Lookup:
        """The same as Redis holds it now, where others changed it there, or may have."""
        shared = await self._store.find_shared(held.key)
        if shared is not None:
            return replace(held, cached=shared, source=Source.REDIS)
        return replace(held, cached=self._store.get(held.key) or held.cached)

    def _must_be_recalculated(self, seen: Seen, query: Query | None) -> bool:
        """True when the cloud must be asked before this can answer a query, or a list (None).

        What is over, by a valid-until or a bound of staleness, waits for the cloud once; where that failed,
        the last known answers, or the fallback. What is in doubt is re-checked.
        """
        cached = seen.known.cached
        is_partial = query is None and cached.lacks_usages
        if cached.failed_at is None and (is_partial or seen.trust.is_gone(cached)):
            return True
        is_over = needs_recalculation(cached.entity, query, now_ms=seen.now_ms)
        if not is_over:
            if seen.state is EntityState.FRESH:
                return False
            is_over = self._are_bounds_passed(query, cached, now=seen.now)
        asked_at = cached.confirmed_at if cached.failed_at is None else cached.failed_at
        if seen.now - asked_at < RECHECK_INTERVAL_SECONDS:
            return False
        if is_over and cached.failed_at is None:
            return True
        self._revalidator.recheck_suspect(seen.known.key)
        return False

    def _are_bounds_passed(self, query: Query | None, cached: CachedEntity, *, now: float) -> bool:
        if query is None:
            return self._stale_bounds.are_any_passed(cached, now=now)
        return self._stale_bounds.are_passed(query.feature_id, cached, now=now)

    async def _recalculated(self, key: EntityKey, known: Lookup) -> Lookup:
        """The cloud's answer, or else the last known, marked."""
        fetched = await self._fetcher.fetch(key)
        if not isinstance(fetched, NotFetched):
            return fetched
        failed_at = self._clock.monotonic()
        await self._store.mark_recheck_failed(key, at=failed_at)
        return replace(known, cached=replace(known.cached, failed_at=failed_at))

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


def _provenance(seen: Seen, *, is_estimate: bool, source: Source | None = None) -> Provenance:
    if seen.state is EntityState.STALE:
        metrics.STALE_ANSWERS.inc()
    age_seconds = seen.now - seen.known.cached.confirmed_at
    return Provenance(
        source=source or seen.known.source,
        state=EntityState.ESTIMATE if is_estimate else seen.state,
        age_ms=int(age_seconds * 1000) if isfinite(age_seconds) else None,
    )


def _nothing_held(cause: str) -> Provenance:
    return Provenance(source=Source.OFFLINE if cause == Offline.outcome else Source.FALLBACK)


def _rests_on_estimate(decision: Decision) -> bool:
    return isinstance(decision.basis, MeteredEntitlement) and decision.basis.usage.is_estimate
