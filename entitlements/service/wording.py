"""An explanation in sentences, for a tired person."""

from collections.abc import Callable, Mapping

from entitlements.domain.decision import Decision, Query
from entitlements.domain.entitlement import (
    CreditEntitlement,
    EntitlementKind,
    EnumEntitlement,
    MeteredEntitlement,
)
from entitlements.domain.evaluation import grants_next_unit
from entitlements.domain.fallback import FallbackOrigin, FallbackValue
from entitlements.domain.freshness import EntityState
from entitlements.domain.override import Override
from entitlements.domain.ports import Source
from entitlements.domain.reason import AccessDeniedReason
from entitlements.domain.steps import Rule, Step
from entitlements.service.answers import Provenance
from entitlements.service.explaining import Explanation
from entitlements.service.figures import amount, duration_from_ms, listed, quoted
from entitlements.service.stale_bounds import TOO_STALE

REASONS: Mapping[AccessDeniedReason, str] = {
    AccessDeniedReason.UNKNOWN: "no reason was given",
    AccessDeniedReason.CUSTOMER_IS_ARCHIVED: "the customer is archived",
    AccessDeniedReason.CUSTOMER_NOT_FOUND: "the cloud knows no such customer",
    AccessDeniedReason.CUSTOMER_RESOURCE_NOT_FOUND: "the cloud knows no such resource of the customer",
    AccessDeniedReason.FEATURE_NOT_FOUND: "the cloud knows no such feature",
    AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION: "the customer has no active subscription",
    AccessDeniedReason.NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION: "the feature is not part of the subscription",
    AccessDeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT: "the usage would exceed the limit",
    AccessDeniedReason.BUDGET_EXCEEDED: "the budget is exceeded",
    AccessDeniedReason.REQUESTED_VALUES_MISMATCH: "a requested value is not among the permitted ones",
    AccessDeniedReason.FEATURE_TYPE_MISMATCH: "the feature is of another kind than the method asks for",
    AccessDeniedReason.INSUFFICIENT_CREDITS: "there are not enough credits",
    AccessDeniedReason.REVOKED: "the entitlement was revoked",
    AccessDeniedReason.ENTITLEMENT_NOT_FOUND: "the customer has no such entitlement",
}
"""Every reason as a short phrase."""

CAUSES: Mapping[str, str] = {
    "unreachable": "it could not be reached, or did not answer in time",
    "circuit_open": "it did not answer lately and is given a pause",
    "failed_elsewhere": "it did not answer another process just now",
    "key_refused": "it refuses the API key (SERVER_API_KEY)",
    "throttled": "it asks to slow down",
    "garbled": "it sent an unusable answer",
    "rejected": "it rejected the request",
    "offline": "the sidecar runs offline (OFFLINE)",
    "overloaded": "too many fetches are under way",
    "timeout": "it did not answer in time",
    "invalid": "the question names nothing that could be asked for",
}
"""Why the cloud could not answer, by the outcome of the error."""
_UNUSABLE = {
    "customer_id": "no customer is named",
    "feature_id": "name a feature or a currency: one of them, not both",
}
_SOURCES = {
    Source.MEMORY: "from memory",
    Source.REDIS: "from Redis",
    Source.EDGE: "fetched from the Edge just now",
    Source.API: "fetched from the API just now",
    Source.FALLBACK: "nothing is known",
    Source.OVERRIDE: "from an override",
    Source.OFFLINE: "from the offline configuration",
    Source.SNAPSHOT: "from the snapshot of before the restart",
}
_STATES = {
    EntityState.FRESH: "fresh",
    EntityState.SUSPECT: "suspect: a change may have been missed, it is being checked again",
    EntityState.STALE: "stale: the cloud was asked again and did not answer",
    EntityState.ESTIMATE: "an estimate: it counts reports that the cloud has not confirmed yet",
}
_ORIGINS = {
    FallbackOrigin.CALL: "the call's own",
    FallbackOrigin.DATABASE: "a rule of the database",
    FallbackOrigin.ENVIRONMENT: "ENTITLEMENTS_FALLBACK",
    FallbackOrigin.DEFAULT: "the default, as none is configured",
}

METHODS: Mapping[EntitlementKind | None, str] = {
    None: "GetEntitlementV2",
    EntitlementKind.BOOLEAN: "GetBooleanEntitlement",
    EntitlementKind.NUMERIC: "GetNumericEntitlement",
    EntitlementKind.METERED: "GetMeteredEntitlement",
    EntitlementKind.ENUM: "GetEnumEntitlement",
}
"""Who asks without a kind, and who with one."""


def headline(explanation: Explanation) -> str:
    """The verdict and what decided it, in one line."""
    decision, steps = explanation.decision, explanation.steps
    verdict = "Granted" if decision.has_access else "Denied"
    if decision.is_fallback:
        why = step_text(steps[-2], explanation)
        return f"{verdict} by a fallback ({_ORIGINS[explanation.fallback_origin]}): {why}"
    if decision.override is not None:
        text = override_text(decision.override, now_ms=explanation.now_ms)
        bound = "" if steps[-1].rule is Rule.OVERRIDE else f"; {step_text(steps[-1], explanation)}"
        return f"{verdict} by an override: {text}{bound}"
    return f"{verdict}: {step_text(steps[-1], explanation)}{_next_unit(explanation)}"


def _next_unit(explanation: Explanation) -> str:
    """That the limit is reached, where nothing was asked for that would exceed it."""
    decision = explanation.decision
    asks_for_usage = bool(explanation.query.requested_usage)
    if asks_for_usage or not decision.has_access or grants_next_unit(decision):
        return ""
    return f"; {amount(units_left(decision))} left: the next 1 is denied"


def units_left(decision: Decision) -> float:
    """Of the limit or the balance; 0 where there is none."""
    match decision.basis:
        case MeteredEntitlement(usage_limit=limit, usage=usage):
            return max((limit or 0) - usage.current, 0)
        case CreditEntitlement(remaining=remaining):
            return max(remaining, 0)
        case _:
            return 0


def step_text(step: Step, explanation: Explanation) -> str:
    """What a rule found, with the figures it looked at."""
    return _TEXTS[step.rule](step, explanation)


def provenance_text(provenance: Provenance) -> str:
    """Where it came from, how old it is and how far it can be relied on."""
    is_too_stale = provenance.source is Source.FALLBACK and provenance.state is not None
    parts = ["too stale to be answered" if is_too_stale else _SOURCES[provenance.source]]
    if provenance.age_ms is not None:
        parts.append(f"confirmed by the cloud {duration_from_ms(provenance.age_ms)} ago")
    if provenance.state is not None:
        parts.append(_STATES[provenance.state])
    return ", ".join(parts)


def _question(step: Step, _: Explanation) -> str:
    return _UNUSABLE[str(step.subject)]


def _override(step: Step, explanation: Explanation) -> str:
    assert isinstance(step.subject, Override)  # noqa: S101 - decide_by_override passes it
    verdict = "grants" if step.subject.has_access else "denies"
    text = override_text(step.subject, now_ms=explanation.now_ms)
    return f"an override {verdict}, whatever the cloud says: {text}"


def override_text(override: Override, *, now_ms: int) -> str:
    """Whose it is, why, and how long it lasts."""
    left = duration_from_ms(max(override.ends_ms - now_ms, 0))
    return f"{quoted(override.reason)}, by {override.author}, ends by itself in {left}"


def _data(step: Step, explanation: Explanation) -> str:
    if step.reason is None:
        return provenance_text(explanation.provenance)
    if step.subject == TOO_STALE:
        age_ms = explanation.provenance.age_ms
        ago = "" if age_ms is None else f" {duration_from_ms(age_ms)} ago, and"
        return f"what is known is too stale: it was confirmed{ago or ' never, and'} cannot be confirmed now"
    return f"nothing is known, and the cloud could not answer: {CAUSES[str(step.subject)]}"


def _entitlement(step: Step, explanation: Explanation) -> str:
    name = _asked_for(explanation.query)
    if isinstance(step.subject, Override | str | None):
        return f"no {name}: {REASONS[step.reason or AccessDeniedReason.UNKNOWN]}"
    text = f"{name} is known as {step.subject.kind.value}"
    until_ms = step.subject.valid_until_ms
    if until_ms is not None and until_ms <= explanation.now_ms:
        text += f"; it was valid until {duration_from_ms(explanation.now_ms - until_ms)} ago"
    return text


def _kind(step: Step, explanation: Explanation) -> str:
    assert not isinstance(step.subject, Override | str | None)  # noqa: S101 - evaluate passes the entitlement
    expected = explanation.query.expected_kind
    return f"it is {step.subject.kind.value}, but was asked for as {expected and expected.value}"


def _period(step: Step, explanation: Explanation) -> str:
    assert isinstance(step.subject, MeteredEntitlement)  # noqa: S101 - only meters have periods
    usage = step.subject.usage
    ago = duration_from_ms(explanation.now_ms - (usage.period_end_ms or 0))
    return f"its usage period ended {ago} ago: usage {amount(usage.current)} starts again at 0"


def _cloud(step: Step, _: Explanation) -> str:
    return "the cloud does not deny it" if step.reason is None else f"the cloud says: {REASONS[step.reason]}"


def _credits(step: Step, _: Explanation) -> str:
    assert isinstance(step.subject, CreditEntitlement)  # noqa: S101 - the balance
    return f"it draws on {_balance_text(step.subject)}"


def _included(_: Step, __: Explanation) -> str:
    return "the subscription includes it, and nothing is counted"


def _values(step: Step, explanation: Explanation) -> str:
    assert isinstance(step.subject, EnumEntitlement)  # noqa: S101 - only these have values
    permitted = listed(step.subject.enum_values)
    requested = explanation.query.requested_values
    if not requested:
        return f"no value was requested; permitted are {permitted}"
    if step.reason is None:
        return f"requested {listed(requested)}, all permitted"
    missing = [value for value in requested if value not in step.subject.enum_values]
    return f"requested {listed(missing)}, but permitted are {permitted}"


def _unlimited(step: Step, _: Explanation) -> str:
    assert isinstance(step.subject, MeteredEntitlement)  # noqa: S101 - only meters are unlimited
    return f"usage {amount(step.subject.usage.current)}, unlimited"


def _soft_limit(step: Step, _: Explanation) -> str:
    assert isinstance(step.subject, MeteredEntitlement | CreditEntitlement)  # noqa: S101 - these have limits
    used, limit = amount(step.subject.usage.current), amount(step.subject.usage_limit or 0)
    return f"usage {used} of {limit}; the limit is soft and may be exceeded"


def _limit(step: Step, explanation: Explanation) -> str:
    assert isinstance(step.subject, MeteredEntitlement)  # noqa: S101 - only meters
    usage, requested = step.subject.usage, explanation.query.requested_usage
    wanted = f"usage {amount(usage.current)}"
    if requested is not None:
        wanted += f" + requested {amount(requested)}"
    units = step.subject.feature.units_plural or ""
    limit = f"{amount(step.subject.usage_limit or 0)} {units}".rstrip()
    compared = "is within" if step.reason is None else "exceeds"
    text = f"{wanted} {compared} the limit of {limit}"
    if usage.period_end_ms is None:
        return text
    return f"{text}; resets in {duration_from_ms(usage.period_end_ms - explanation.now_ms)}"


def _balance(step: Step, explanation: Explanation) -> str:
    assert isinstance(step.subject, CreditEntitlement)  # noqa: S101 - the balance
    requested = explanation.query.requested_usage
    wanted = "" if requested is None else f"; requested {amount(requested)}"
    return f"{_balance_text(step.subject)}{wanted}"


def _fallback(_: Step, explanation: Explanation) -> str:
    return fallback_text(explanation.fallback, explanation.fallback_origin)


_TEXTS: Mapping[Rule, Callable[[Step, Explanation], str]] = {
    Rule.QUESTION: _question,
    Rule.OVERRIDE: _override,
    Rule.DATA: _data,
    Rule.ENTITLEMENT: _entitlement,
    Rule.KIND: _kind,
    Rule.PERIOD: _period,
    Rule.CLOUD: _cloud,
    Rule.CREDITS: _credits,
    Rule.INCLUDED: _included,
    Rule.VALUES: _values,
    Rule.UNLIMITED: _unlimited,
    Rule.SOFT_LIMIT: _soft_limit,
    Rule.LIMIT: _limit,
    Rule.BALANCE: _balance,
    Rule.FALLBACK: _fallback,
}


def _asked_for(query: Query) -> str:
    if query.currency_id is not None:
        return f"currency {quoted(query.currency_id)}"
    return f"feature {quoted(query.feature_id)}"


def _balance_text(credit: CreditEntitlement) -> str:
    left, limit = amount(credit.remaining), amount(credit.usage_limit)
    return f"{quoted(credit.currency.currency_id)}: {left} of {limit} credits are left"


def method_text(decision: Decision) -> str:
    """What one method answers."""
    verdict = "grants" if decision.has_access else "denies"
    by = " by a fallback" if decision.is_fallback else ""
    reason = decision.reason or AccessDeniedReason.UNKNOWN
    return f"{verdict}{by}" if reason is AccessDeniedReason.UNKNOWN else f"{verdict}{by}: {REASONS[reason]}"


def fallback_text(fallback: FallbackValue, origin: FallbackOrigin) -> str:
    """What a fallback answers, and where it is configured."""
    verdict = "grants access" if fallback.has_access else "denies access"
    return f"{verdict} ({_ORIGINS[origin]})"
