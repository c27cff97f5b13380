"""Why was it denied? The same decision as over gRPC, with its steps, and the cloud's view beside it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from entitlements.domain.decision import Decision, Query, invalid_field
from entitlements.domain.entitlement import EntitlementKind
from entitlements.domain.errors import UpstreamError
from entitlements.domain.evaluation import evaluate, find_entitlement
from entitlements.domain.fallback import FallbackOrigin, FallbackValue, choose_fallback
from entitlements.domain.overriding import is_needless
from entitlements.domain.ports import Clock, EntitySource, FallbackRules, Source
from entitlements.domain.steps import KeptTrail, Step
from entitlements.service.answers import Answer, Provenance
from entitlements.service.reader import EntitlementReader

COMPARE_SECONDS = 5.0
"""The cloud must give its current state within this; waiting for a turn is included."""
TYPED = tuple(kind for kind in EntitlementKind if kind is not EntitlementKind.CREDIT)
"""What the typed methods ask for."""
COMPARISONS_AT_A_TIME = 2
"""People are few, and what they ask must not crowd out what callers need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that the sidecar and the cloud see differently, each as it would be decided from."""

    name: str
    here: object
    cloud: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The cloud's current state beside what was answered from."""

    decision: Decision | None = None
    """As the cloud's state of this moment has it; None when it could not be asked."""
    steps: tuple[Step, ...] = ()
    differences: tuple[Difference, ...] = ()
    problem: str | None = None
    """Why the cloud could not be asked: one of a bounded set of names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision and all that it rests on."""

    query: Query
    decision: Decision
    provenance: Provenance
    steps: tuple[Step, ...]
    """In the order in which the rules were applied; the last one decided."""
    fallback: FallbackValue
    """What is answered while nothing is known."""
    fallback_origin: FallbackOrigin
    now_ms: int
    """When it was decided (epoch milliseconds)."""
    comparison: Comparison | None = None
    """None unless it was asked for."""
    override_agrees: bool | None = None
    """True when nothing changes by ending the override; None where there is none, or nothing is known."""
    by_method: Mapping[EntitlementKind | None, Decision] = field(default_factory=dict)
    """What GetEntitlementV2 (None) and the typed methods answer, where one grants what another denies."""


class Explaining:
    """Asks as a caller would: what is not held is fetched, kept and counted."""

    def __init__(
        self, *, reader: EntitlementReader, rules: FallbackRules, authority: EntitySource, clock: Clock
    ) -> None:
        """Explains what this process answers.

        Args:
            reader: decides.
            rules: the configured fallbacks.
            authority: whose state is compared; nothing that it answers is kept.
            clock: for people.
        """
        self._reader = reader
        self._rules = rules
        self._authority = authority
        self._clock = clock
        self._turns = asyncio.Semaphore(COMPARISONS_AT_A_TIME)

    async def explain(self, query: Query, *, compares: bool = False) -> Explanation:
        """The decision on a query and why, whatever happens; compared with the cloud only on demand."""
        trail = KeptTrail()
        answer = await self._reader.check(query, trail=trail)
        now_ms = self._clock.now_ms()
        return Explanation(
            query=query,
            decision=answer.decision,
            provenance=answer.provenance,
            steps=tuple(trail.steps),
            fallback=choose_fallback(query.feature_id, call=query.fallback, rules=self._rules.current()),
            fallback_origin=self._origin(query),
            now_ms=now_ms,
            comparison=await self._compare(query, answer.decision) if compares else None,
            override_agrees=self._override_agrees(answer, query),
            by_method=self._by_method(answer, query),
        )

    def _by_method(self, answer: Answer, query: Query) -> Mapping[EntitlementKind | None, Decision]:
        """What is known of the entity tells them apart; overrides, and what is too stale, are one for all."""
        source, seen = answer.provenance.source, answer.seen
        if seen is None or query.currency_id is not None or source in {Source.OVERRIDE, Source.FALLBACK}:
            return {}
        entity = seen.known.cached.entity
        entitlement = find_entitlement(entity, query)
        typed = TYPED if entitlement is None else (query.expected_kind or entitlement.kind,)
        rules, now_ms = self._rules.current(), self._clock.now_ms()
        answers = {
            kind: evaluate(entity, replace(query, expected_kind=kind), rules=rules, now_ms=now_ms)
            for kind in (None, *typed)
        }
        return answers if len({each.has_access for each in answers.values()}) > 1 else {}

    def _override_agrees(self, answer: Answer, query: Query) -> bool | None:
        override, seen = answer.decision.override, answer.seen
        if override is None or seen is None:
            return None
        rules, now_ms = self._rules.current(), self._clock.now_ms()
        return is_needless(override, seen.known.cached.entity, query, rules=rules, now_ms=now_ms)

    def _origin(self, query: Query) -> FallbackOrigin:
        return FallbackOrigin.CALL if query.fallback else self._rules.origin_of(query.feature_id)

    async def _compare(self, query: Query, here: Decision) -> Comparison:
        if invalid_field(query) is not None:
            return Comparison(problem="invalid")
        try:
            async with asyncio.timeout(COMPARE_SECONDS), self._turns:
                entity = await self._authority.fetch(query.key, budget_seconds=COMPARE_SECONDS)
        except UpstreamError as error:
            return Comparison(problem=error.outcome)
        except TimeoutError:
            return Comparison(problem="timeout")
        trail = KeptTrail()
        rules, now_ms = self._rules.current(), self._clock.now_ms()
        there = evaluate(entity, query, rules=rules, now_ms=now_ms, trail=trail)
        return Comparison(
            decision=there, steps=tuple(trail.steps), differences=tuple(_differences(here, there))
        )


def _differences(here: Decision, cloud: Decision) -> list[Difference]:
    """The verdict first, then the terms that it rests on, field by field."""
    verdicts = [
        Difference(name=name, here=getattr(here, name), cloud=getattr(cloud, name))
        for name in ("has_access", "reason")
    ]
    if type(here.basis) is not type(cloud.basis):
        terms = [Difference(name="known_as", here=_called(here), cloud=_called(cloud))]
    else:
        terms = [
            Difference(name=name, here=_term(here, name), cloud=_term(cloud, name))
            for name in _term_names(here)
        ]
    return [each for each in (*verdicts, *terms) if each.here != each.cloud]


def _called(decision: Decision) -> str:
    return "fallback" if decision.is_fallback else type(decision.basis).__name__


def _term_names(decision: Decision) -> list[str]:
    basis = decision.basis
    named = getattr(basis, "__dataclass_fields__", {})
    names = [name for name in named if name not in {"feature", "currency", "usage"}]
    usage = getattr(basis, "usage", None)
    return names if usage is None else [*names, *(f"usage.{each.name}" for each in fields(usage))]


def _term(decision: Decision, name: str) -> object:
    value: object = decision.basis
    for part in name.split("."):
        value = getattr(value, part)
    return value
