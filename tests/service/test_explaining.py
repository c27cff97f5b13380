"""Why: the decision of a read with its steps, the fallback's origin, and the cloud's view beside it."""

import asyncio
import math

import pytest

from entitlements.domain.entitlement import CreditEntitlement
from entitlements.domain.errors import Throttled, Unreachable
from entitlements.domain.fallback import DEFAULT_FALLBACK, FallbackOrigin, FallbackValue
from entitlements.domain.ports import Source
from entitlements.domain.reason import AccessDeniedReason
from entitlements.domain.steps import Rule
from entitlements.fallbacks import ConfiguredRules
from entitlements.service import explaining as explaining_module
from entitlements.service.explaining import COMPARISONS_AT_A_TIME, Comparison, Difference, Explaining
from tests.builders import a_credit_query, a_metered_feature, a_query, a_usage, an_entity
from tests.eventually import eventually
from tests.service.conftest import House, build_house

METER = an_entity(a_metered_feature("f", limit=100, usage=a_usage(105)))
GRANTING = FallbackValue(has_access=True)


def explaining_of(house: House) -> Explaining:
    return Explaining(reader=house.reader, rules=house.rules, authority=house.api, clock=house.clock)


async def test_a_denial_is_explained_as_it_is_read(house: House) -> None:
    """The same decision; first fetched, then from memory, each with all steps."""
    house.edge.answer = METER
    explaining = explaining_of(house)

    first = await explaining.explain(a_query(requested_usage=1))
    second = await explaining.explain(a_query(requested_usage=1))

    answer = await house.reader.check(a_query(requested_usage=1))
    assert answer.decision == first.decision
    assert answer.decision == second.decision
    assert Source.EDGE == first.provenance.source
    assert Source.MEMORY == second.provenance.source
    assert [Rule.DATA, Rule.ENTITLEMENT, Rule.CLOUD, Rule.LIMIT] == [step.rule for step in first.steps]
    assert first.steps == second.steps
    assert AccessDeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT is first.steps[-1].reason
    assert first.comparison is None
    assert house.api.asked == []


async def test_a_cloud_that_is_away_is_named(house: House) -> None:
    house.edge.answer = house.api.answer = Unreachable("api")

    explained = await explaining_of(house).explain(a_query())

    assert [Rule.DATA, Rule.FALLBACK] == [step.rule for step in explained.steps]
    assert "unreachable" == explained.steps[0].subject


async def test_an_unusable_question_is_named(house: House) -> None:
    """And nobody is asked for it, the cloud neither."""
    explained = await explaining_of(house).explain(a_query(""), compares=True)

    assert [(Rule.QUESTION, "feature_id"), (Rule.FALLBACK, None)] == [
        (step.rule, step.subject) for step in explained.steps
    ]
    assert Comparison(problem="invalid") == explained.comparison
    assert house.api.asked == []


async def test_the_fallback_and_its_origin_are_reported_though_not_needed() -> None:
    house = build_house(rules=ConfiguredRules({"f": GRANTING}))
    house.edge.answer = METER
    explaining = explaining_of(house)

    configured = await explaining.explain(a_query())
    of_the_call = await explaining.explain(a_query(fallback=DEFAULT_FALLBACK))
    other = await explaining.explain(a_query("g"))

    await house.fetcher.stop()
    assert [
        (GRANTING, FallbackOrigin.ENVIRONMENT),
        (DEFAULT_FALLBACK, FallbackOrigin.CALL),
        (DEFAULT_FALLBACK, FallbackOrigin.DEFAULT),
    ] == [(each.fallback, each.fallback_origin) for each in (configured, of_the_call, other)]


async def test_the_cloud_is_compared_and_nothing_that_it_says_is_kept(house: House) -> None:
    """Verdict, reason and terms side by side; the next read answers from what was held."""
    house.edge.answer = METER
    explaining = explaining_of(house)
    await explaining.explain(a_query())
    held = house.store.get(a_query().key)
    house.api.answer = an_entity(a_metered_feature("f", limit=100, usage=a_usage(3, updated_at_ms=9)))

    comparison = (await explaining.explain(a_query(), compares=True)).comparison

    assert comparison is not None
    assert comparison.decision is not None
    assert comparison.decision.has_access
    assert [
        Difference(name="has_access", here=False, cloud=True),
        Difference(name="reason", here=AccessDeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT, cloud=None),
        Difference(name="usage.current", here=105, cloud=3),
        Difference(name="usage.updated_at_ms", here=1, cloud=9),
    ] == list(comparison.differences)
    assert held is house.store.get(a_query().key)


async def test_what_the_cloud_knows_no_more_is_compared(house: House) -> None:
    house.edge.answer = METER
    house.api.answer = an_entity()

    comparison = (await explaining_of(house).explain(a_query(), compares=True)).comparison

    assert comparison is not None
    assert Difference(name="known_as", here="MeteredEntitlement", cloud="fallback") in comparison.differences


async def test_both_without_the_entitlement_agree(house: House) -> None:
    """There are no terms to compare, and no error."""
    house.edge.answer = house.api.answer = METER

    comparison = (await explaining_of(house).explain(a_credit_query(), compares=True)).comparison

    assert comparison is not None
    assert () == comparison.differences
    assert not isinstance(comparison.decision and comparison.decision.basis, CreditEntitlement)


@pytest.mark.parametrize("error", [Throttled("api"), Unreachable("api")])
async def test_a_cloud_that_cannot_be_compared_harms_nothing(
    house: House, error: Throttled | Unreachable
) -> None:
    house.edge.answer = METER
    house.api.answer = error

    explained = await explaining_of(house).explain(a_query(), compares=True)

    assert Comparison(problem=error.outcome) == explained.comparison
    assert not explained.decision.is_fallback


async def test_few_comparisons_are_made_at_a_time(house: House) -> None:
    house.edge.answer = house.api.answer = METER
    house.api.gate = asyncio.Event()
    explaining = explaining_of(house)

    many = [asyncio.create_task(explaining.explain(a_query(), compares=True)) for _ in range(5)]
    await eventually(lambda: len(house.api.asked) == COMPARISONS_AT_A_TIME)
    for _ in range(100):
        await asyncio.sleep(0)
    asked_at_a_time = len(house.api.asked)
    house.api.gate.set()
    explained = await asyncio.gather(*many)

    assert asked_at_a_time == COMPARISONS_AT_A_TIME
    assert [each.comparison and each.comparison.problem for each in explained] == [None] * 5


async def test_a_comparison_that_takes_too_long_ends(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are made, and those that wait for their turn."""
    monkeypatch.setattr(explaining_module, "COMPARE_SECONDS", 0.05)
    house.edge.answer = METER
    house.api.gate = asyncio.Event()
    explaining = explaining_of(house)

    many = await asyncio.gather(*(explaining.explain(a_query(), compares=True) for _ in range(5)))

    assert [each.comparison for each in many] == [Comparison(problem="timeout")] * 5
    assert all(math.isclose(budget, 0.05) for budget in house.api.budgets)
