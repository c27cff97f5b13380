"""An explanation as JSON: verdicts of each step, the fallback, the comparison."""

from entitlements.domain.entitlement import EntitlementKind
from entitlements.domain.errors import CircuitOpen, Throttled
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.reason import AccessDeniedReason
from entitlements.fallbacks import ConfiguredRules
from entitlements.service.explaining import Explaining
from entitlements.service.explanation_document import explanation_document
from tests.builders import a_query, an_entity, an_enum_feature
from tests.service.conftest import House, build_house


def explaining_of(house: House) -> Explaining:
    return Explaining(reader=house.reader, rules=house.rules, authority=house.api, clock=house.clock)


async def test_an_outage_is_reported_with_its_cause(house: House) -> None:
    house.edge.answer = house.api.answer = CircuitOpen("api")

    explained = explanation_document(await explaining_of(house).explain(a_query()))

    assert "the cloud could not answer: it did not answer lately" in explained["headline"]
    assert [("data", "undecided"), ("fallback", "denied")] == [
        (step["rule"], step["verdict"]) for step in explained["steps"]
    ]
    assert {"origin": "default", "has_access": False, "text": explained["steps"][1]["text"]} == explained[
        "fallback"
    ]


async def test_the_comparison_is_reported(house: House) -> None:
    """The same, different, or not to be had."""
    house.edge.answer = house.api.answer = an_entity(an_enum_feature("f"))
    explaining = explaining_of(house)

    same = explanation_document(await explaining.explain(a_query(), compares=True))["comparison"]
    house.api.answer = an_entity(
        an_enum_feature("f", values=(), denied_reason=AccessDeniedReason.REVOKED, valid_until_ms=7)
    )
    other = explanation_document(await explaining.explain(a_query(), compares=True))["comparison"]
    house.api.answer = Throttled("api")
    none = explanation_document(await explaining.explain(a_query(), compares=True))["comparison"]

    assert same["agrees"] is True
    assert [] == same["differences"]
    assert not other["agrees"]
    assert {
        ("has_access", "yes", "no"),
        ("reason", "none", "REVOKED"),
        ("denied_reason", "none", "REVOKED"),
        ("valid_until_ms", "none", "7"),
        ("enum_values", '"eu", "us"', "none"),
    } == {(each["name"], each["here"], each["cloud"]) for each in other["differences"]}
    assert "denies" in other["headline"]
    assert "the cloud could not be asked: it asks to slow down" == none["headline"]


async def test_the_methods_are_reported_apart_where_one_grants_what_another_denies() -> None:
    """A granting fallback lets in by V2 whoever's plan lacks the feature; the typed methods deny it."""
    granting = FallbackValue(has_access=True)
    house = build_house(rules=ConfiguredRules({"missing": granting, "f": granting}))
    house.edge.answer = house.api.answer = an_entity(
        an_enum_feature("f", denied_reason=AccessDeniedReason.REVOKED)
    )
    explaining = explaining_of(house)

    lacking = explanation_document(await explaining.explain(a_query("missing")))
    other_kind = explanation_document(
        await explaining.explain(a_query("f", expected_kind=EntitlementKind.BOOLEAN))
    )
    agreeing = explanation_document(await explaining.explain(a_query("f")))

    denies = "denies: the feature is not part of the subscription"
    assert [
        ("GetEntitlementV2", "grants by a fallback"),
        ("GetBooleanEntitlement", denies),
        ("GetNumericEntitlement", denies),
        ("GetMeteredEntitlement", denies),
        ("GetEnumEntitlement", denies),
    ] == [(each["method"], each["text"]) for each in lacking["methods"]]
    assert [("GetEntitlementV2", False), ("GetBooleanEntitlement", True)] == [
        (each["method"], each["has_access"]) for each in other_kind["methods"]
    ]
    assert [] == agreeing["methods"]
