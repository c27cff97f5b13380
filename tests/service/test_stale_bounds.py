"""Money refuses after ten minutes without the cloud's word, a flag lives for days."""

from entitlements import metrics
from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import Unreachable
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.freshness import EntityState
from entitlements.domain.ports import Lookup, Source
from entitlements.domain.reason import AccessDeniedReason
from entitlements.fallbacks import ConfiguredRules
from entitlements.service.answers import Answer
from entitlements.service.explaining import Explaining
from entitlements.service.explanation_document import explanation_document
from tests.builders import (
    A_KEY,
    a_boolean_feature,
    a_credit,
    a_credit_query,
    a_metered_feature,
    a_query,
    an_entity,
    an_override,
)
from tests.service.conftest import House, build_house

BOUND_SECONDS = 600.0
MONEY = FallbackValue(has_access=False, max_stale_seconds=BOUND_SECONDS)
RULES = ConfiguredRules({"money": MONEY, "flag": FallbackValue(has_access=False)})
KNOWN = an_entity(a_boolean_feature("flag"), a_metered_feature("money"), a_credit())


async def known(house: House) -> House:
    """A customer is held, and the cloud goes away."""
    house.edge.answer = KNOWN
    await house.reader.check(a_query("flag"))
    house.edge.answer = house.api.answer = Unreachable("api")
    return house


async def test_past_its_rule_s_bound_a_feature_is_answered_by_it() -> None:
    """With a cause of its own; the flag beside it is answered stale; and the cloud's return heals it."""
    house = await known(build_house(rules=RULES))
    counted = metrics.FALLBACKS.labels("too_stale", "money")
    before = counted._value.get()
    house.clock.advance(BOUND_SECONDS - 1)
    within = await house.reader.check(a_query("money"))
    house.clock.advance(2)
    past = await house.reader.check(a_query("money"))
    flag = await house.reader.check(a_query("flag"))
    counted_after = counted._value.get()
    house.edge.answer = house.api.answer = KNOWN
    house.clock.advance(120)
    await house.fetcher.fetch(A_KEY)
    healed = await house.reader.check(a_query("money"))
    await house.fetcher.stop()

    assert within.decision.has_access
    assert not within.decision.is_fallback
    assert not past.decision.has_access
    assert past.decision.is_fallback
    assert Source.FALLBACK == past.provenance.source
    assert EntityState.STALE == past.provenance.state
    assert past.provenance.age_ms == (BOUND_SECONDS + 1) * 1000
    assert flag.decision.has_access
    assert EntityState.STALE == flag.provenance.state
    assert before + 1 == counted_after
    assert healed.decision.has_access
    assert EntityState.FRESH == healed.provenance.state


async def test_what_is_suspect_past_the_bound_is_confirmed_before_it_answers() -> None:
    """The cloud is there: it was only not asked for long. The first call waits, and is answered by it."""
    house = build_house(rules=RULES)
    house.edge.answer = KNOWN
    await house.reader.check(a_query("money"))
    house.clock.advance(BOUND_SECONDS + 1)
    held = house.reader.check_held(a_query("money"))
    flag = house.reader.check_held(a_query("flag"))
    answer = await house.reader.check(a_query("money"))
    await house.fetcher.stop()

    assert isinstance(held, Lookup)
    assert isinstance(flag, Answer)
    assert answer.decision.has_access
    assert not answer.decision.is_fallback
    assert EntityState.FRESH == answer.provenance.state


async def test_the_general_bound_holds_for_all_without_their_own() -> None:
    """Lists and credits too; a rule's own bound goes before it."""
    rules = ConfiguredRules({"money": FallbackValue(has_access=True, max_stale_seconds=9_999.0)})
    house = await known(build_house(rules=rules, max_stale_seconds=BOUND_SECONDS))
    house.clock.advance(BOUND_SECONDS + 1)
    answers = [await house.reader.check(a_query(each)) for each in ("flag", "money")]
    credit = await house.reader.check(a_credit_query())
    listed = await house.reader.list(A_KEY)
    await house.fetcher.stop()

    assert [True, False] == [each.decision.is_fallback for each in answers]
    assert credit.decision.is_fallback
    assert {"flag": True, "money": False, "tokens": True} == {
        each.id: each.is_fallback for each in listed.decisions
    }


async def test_without_a_bound_the_last_known_answers_for_ever() -> None:
    house = await known(build_house())
    house.clock.advance(1e9)
    answer = await house.reader.check(a_query("flag"))
    listed = await house.reader.list(A_KEY)
    await house.fetcher.stop()

    assert answer.decision.has_access
    assert not answer.decision.is_fallback
    assert not any(each.is_fallback for each in listed.decisions)


async def test_the_explanation_says_that_it_is_too_stale() -> None:
    house = await known(build_house(rules=RULES))
    house.clock.advance(BOUND_SECONDS + 1)
    explaining = Explaining(reader=house.reader, rules=house.rules, authority=house.api, clock=house.clock)
    explained = explanation_document(await explaining.explain(a_query("money")))
    await house.fetcher.stop()

    assert explained["headline"] == (
        "Denied by a fallback (ENTITLEMENTS_FALLBACK): what is known is too stale: it was confirmed "
        "10 min 1 s ago, and cannot be confirmed now"
    )
    assert explained["source_text"].startswith(
        "too stale to be answered, confirmed by the cloud 10 min 1 s ago"
    )


async def test_a_person_s_override_holds_all_the_same() -> None:
    class Held:
        """One override, in force."""

        def of(self, _: EntityKey) -> tuple[object, ...]:
            return (override,)

        def find(self, _: object) -> object:
            return override

    override = an_override("money")
    house = await known(build_house(rules=RULES, overrides=Held()))  # type: ignore[arg-type]
    house.clock.advance(BOUND_SECONDS + 1)
    answer = await house.reader.check(a_query("money"))
    await house.fetcher.stop()

    assert answer.decision.has_access
    assert answer.decision.reason is None
    assert AccessDeniedReason.UNKNOWN is not answer.decision.reason
