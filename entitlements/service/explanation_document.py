"""An explanation as a JSON document, for pages and scripts."""

from enum import Enum
from typing import Any

from entitlements.domain.decision import Decision
from entitlements.domain.evaluation import grants_next_unit
from entitlements.domain.moments import moment_from_ms
from entitlements.domain.steps import Step
from entitlements.service.explaining import Comparison, Explanation
from entitlements.service.figures import amount, listed
from entitlements.service.wording import (
    CAUSES,
    METHODS,
    fallback_text,
    headline,
    method_text,
    override_text,
    provenance_text,
    step_text,
)


def explanation_document(explanation: Explanation) -> dict[str, Any]:
    """All of it as JSON; ids and values are data and not markup, whoever shows them must escape them."""
    query, decision = explanation.query, explanation.decision
    return {
        "customer": query.key.customer_id,
        "resource": query.key.resource_id,
        "feature": query.feature_id or None,
        "currency": query.currency_id,
        "requested_usage": query.requested_usage,
        "requested_values": list(query.requested_values),
        "asked_as": query.expected_kind and query.expected_kind.value,
        "headline": headline(explanation),
        "has_access": decision.has_access,
        "reason": decision.reason and decision.reason.name,
        "is_fallback": decision.is_fallback,
        "grants_next_unit": grants_next_unit(decision),
        "methods": _methods(explanation),
        "kind": decision.kind.value,
        "steps": [
            {
                "rule": step.rule.value,
                "verdict": _verdict(step, decision, is_last=step is explanation.steps[-1]),
                "reason": step.reason and step.reason.name,
                "text": step_text(step, explanation),
            }
            for step in explanation.steps
        ],
        "source": explanation.provenance.source.value,
        "state": explanation.provenance.state and explanation.provenance.state.value,
        "age_ms": explanation.provenance.age_ms,
        "source_text": provenance_text(explanation.provenance),
        "fallback": {
            "origin": explanation.fallback_origin.value,
            "has_access": explanation.fallback.has_access,
            "text": fallback_text(explanation.fallback, explanation.fallback_origin),
        },
        "override": _override_document(explanation),
        "comparison": _comparison_document(explanation),
        "decided_at": moment_from_ms(explanation.now_ms).isoformat(),
    }


def _verdict(step: Step, decision: Decision, *, is_last: bool) -> str:
    if step.reason is not None:
        return "denied" if is_last else "undecided"
    return "granted" if is_last and decision.has_access else "passed"


def _methods(explanation: Explanation) -> list[dict[str, Any]]:
    """What each method answers, where one grants what another denies."""
    return [
        {
            "method": METHODS[kind],
            "has_access": each.has_access,
            "is_fallback": each.is_fallback,
            "text": method_text(each),
        }
        for kind, each in explanation.by_method.items()
    ]


def _override_document(explanation: Explanation) -> dict[str, Any] | None:
    override = explanation.decision.override
    if override is None:
        return None
    return {
        "id": override.id,
        "has_access": override.has_access,
        "reason": override.reason,
        "author": override.author,
        "ends_at": moment_from_ms(override.ends_ms).isoformat(),
        "text": override_text(override, now_ms=explanation.now_ms),
        "agrees": explanation.override_agrees,
    }


def _comparison_document(explanation: Explanation) -> dict[str, Any] | None:
    comparison = explanation.comparison
    if comparison is None:
        return None
    return {
        "headline": _compared(comparison),
        "problem": comparison.problem,
        "has_access": comparison.decision and comparison.decision.has_access,
        "agrees": comparison.problem is None and not comparison.differences,
        "differences": [
            {"name": each.name, "here": _shown(each.here), "cloud": _shown(each.cloud)}
            for each in comparison.differences
        ],
    }


def _compared(comparison: Comparison) -> str:
    if comparison.problem is not None:
        return f"the cloud could not be asked: {CAUSES[comparison.problem]}"
    if not comparison.differences:
        return "the cloud says the same at this moment"
    verdict = "grants" if comparison.decision and comparison.decision.has_access else "denies"
    return f"the cloud {verdict} access at this moment, and sees some of it differently"


def _shown(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case Enum():
            return value.name
        case int() | float():
            return amount(value)
        case tuple():
            return listed(tuple(map(str, value)))
        case _:
            return str(value)
