"""What changed between two states of an entity, field by field."""

from dataclasses import replace
from types import MappingProxyType

from entitlements.domain.difference import Difference
from entitlements.domain.entitlement import Feature, FeatureType, Usage
from entitlements.domain.entity import Entity
from entitlements.domain.entity_history import MAX_TEXT, NO_HISTORY, Origin, changes_between
from entitlements.domain.reason import AccessDeniedReason
from tests.builders import A_KEY, an_entity, an_enum_feature
from tests.builders import a_boolean_feature as boolean
from tests.cache.samples import credit, entity, metered


def test_nothing_changed() -> None:
    assert [] == changes_between(None, None)
    assert [] == changes_between(entity(metered(), credit()), entity(metered(), credit()))


def test_what_is_known_of_it_at_all() -> None:
    unknown = Entity(denied_reason=AccessDeniedReason.CUSTOMER_NOT_FOUND)

    assert [Difference("known", "", None, "1 entitlement")] == changes_between(None, entity(metered()))
    gone = Difference("known", "", "0 entitlements, CustomerNotFound", None)
    assert [gone] == changes_between(unknown, None)
    assert ["state"] == [each.field for each in changes_between(Entity(), unknown)]


def test_an_entitlement_comes_goes_and_becomes_of_another_kind() -> None:
    before, after = an_entity(boolean("gone"), boolean("seats")), entity(metered(), credit())

    found = changes_between(before, after)

    (currency_id,) = after.credits
    assert [
        Difference("entitlement", "feature gone", "boolean", None),
        Difference("entitlement", "feature seats", "boolean", "metered"),
        Difference("entitlement", f"currency {currency_id}", None, "credit"),
    ] == found


def test_fields_are_named_with_both_values() -> None:
    terms = metered(current=3)
    later = replace(
        terms,
        usage_limit=5,
        has_soft_limit=True,
        denied_reason=AccessDeniedReason.REVOKED,
        usage=Usage(current=1234.5, is_estimate=True),
    )
    found = changes_between(_held(terms), _held(later))

    assert {
        "denied_reason": (None, AccessDeniedReason.REVOKED.value),
        "usage_limit": (f"{terms.usage_limit:g}", "5"),
        "has_soft_limit": (None, "yes"),
        "usage": ("3", "1,234.5 (estimated)"),
    } == {each.field: (each.ours, each.theirs) for each in found}


def test_usage_that_was_counted_anew_to_the_same_is_no_change() -> None:
    """Each answer of the cloud has another stamp."""
    terms = metered(current=3)
    later = replace(terms, usage=replace(terms.usage, updated_at_ms=terms.usage.updated_at_ms + 1))

    assert [] == changes_between(_held(terms), _held(later))


def test_names_that_people_read_are_reported_without_their_values() -> None:
    """They are long, and decide nothing."""
    named = Feature(id="f", feature_type=FeatureType.BOOLEAN, description="x" * 5000)
    terms = boolean("f")

    assert [Difference("feature", "feature f", None, None)] == changes_between(
        an_entity(terms), an_entity(replace(terms, feature=named))
    )


def test_a_long_value_is_cut_off() -> None:
    (found,) = changes_between(an_entity(), an_entity(boolean("f" * 5000)))

    assert len(found.element) <= MAX_TEXT + len("feature ")
    assert found.element.endswith("…")


def test_a_list_of_values_is_one_text() -> None:
    one, two = (an_enum_feature("f", values=values) for values in (("a",), ("a", "b")))

    assert [Difference("enum_values", "feature f", "a", "a, b")] == changes_between(
        an_entity(one), an_entity(two)
    )


def test_without_a_history_nothing_is_kept() -> None:
    NO_HISTORY.note(A_KEY, None, None, Origin.FEED)
    NO_HISTORY.note_differences(A_KEY, [], Origin.FEED)


def _held(terms: object) -> Entity:
    return Entity(features=MappingProxyType({"seats": terms}))  # type: ignore[dict-item]
