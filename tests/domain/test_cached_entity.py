"""Which of two held states holds, and how far."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.domain.cached_entity import (
    CachedEntity,
    merge_cached,
    with_confirmation,
    with_failed_recheck,
)
from entitlements.domain.entitlement import NO_TIMESTAMP_MS
from entitlements.domain.entity import Entity
from tests.builders import a_boolean_feature, a_cached_entity, an_entity
from tests.domain.strategies import entities

OLD = an_entity(a_boolean_feature("old"), updated_at_ms=1)
NEW = an_entity(a_boolean_feature("new"), updated_at_ms=2)
UNSTAMPED = an_entity(updated_at_ms=NO_TIMESTAMP_MS)


@pytest.mark.parametrize(("held_at", "arrived_at", "lacks"), [(1, 2, True), (2, 1, False), (1, 1, True)])
def test_what_is_newer_says_whether_usages_are_lacking(held_at: int, arrived_at: int, *, lacks: bool) -> None:
    held = a_cached_entity(confirmed_at=held_at)
    arrived = replace(a_cached_entity(confirmed_at=arrived_at), lacks_usages=True)

    assert lacks is merge_cached(held, arrived).lacks_usages


def test_first_arrival_is_held_as_it_came() -> None:
    """Where nothing is held there is nothing to merge."""
    arrived = a_cached_entity(confirmed_at=5)

    assert arrived is merge_cached(None, arrived)


@pytest.mark.parametrize(
    ("held", "arrived", "merged"),
    [
        (
            a_cached_entity(OLD, confirmed_at=1),
            a_cached_entity(NEW, confirmed_at=2),
            a_cached_entity(NEW, confirmed_at=2),
        ),
        (
            a_cached_entity(NEW, confirmed_at=1),
            a_cached_entity(OLD, confirmed_at=2),
            a_cached_entity(OLD, confirmed_at=2),
        ),
        (
            a_cached_entity(OLD, confirmed_at=2),
            a_cached_entity(NEW, confirmed_at=1),
            a_cached_entity(OLD, confirmed_at=2),
        ),
    ],
    ids=["newer and later", "older but later", "newer but earlier"],
)
def test_newest_state_and_latest_confirmation_hold(
    held: CachedEntity, arrived: CachedEntity, merged: CachedEntity
) -> None:
    """Both go by when we asked or were sent it, not by the cloud's timestamps."""
    assert merged == merge_cached(held, arrived)


@pytest.mark.parametrize(
    ("held", "arrived", "merged"),
    [
        (
            a_cached_entity(UNSTAMPED, confirmed_at=2),
            a_cached_entity(NEW, confirmed_at=1),
            a_cached_entity(UNSTAMPED, confirmed_at=2),
        ),
        (
            a_cached_entity(NEW, confirmed_at=2, failed_at=3),
            a_cached_entity(UNSTAMPED, confirmed_at=1),
            a_cached_entity(NEW, confirmed_at=2, failed_at=3),
        ),
        (
            a_cached_entity(NEW, confirmed_at=2),
            a_cached_entity(UNSTAMPED, confirmed_at=2),
            a_cached_entity(UNSTAMPED, confirmed_at=2),
        ),
        (
            a_cached_entity(UNSTAMPED, confirmed_at=1),
            a_cached_entity(NEW, confirmed_at=2),
            a_cached_entity(NEW, confirmed_at=2),
        ),
    ],
    ids=["stamped, asked earlier", "unstamped, asked earlier", "asked at once", "asked later"],
)
def test_without_a_timestamp_what_was_asked_for_later_holds(
    held: CachedEntity, arrived: CachedEntity, merged: CachedEntity
) -> None:
    """Where the cloud does not say which is newer, our own order of asking does."""
    assert merged == merge_cached(held, arrived)


@pytest.mark.parametrize(
    ("confirmed_at", "failed_at"), [(4.0, 9.0), (5.0, None), (6.0, None)], ids=["before", "at", "after"]
)
def test_arrival_that_was_asked_for_later_ends_a_failed_recheck(
    confirmed_at: float, failed_at: float | None
) -> None:
    """What was asked for before the held state's confirmation says nothing about the cloud now."""
    held = a_cached_entity(OLD, confirmed_at=5, failed_at=9)

    merged = merge_cached(held, a_cached_entity(NEW, confirmed_at=confirmed_at))

    assert failed_at == merged.failed_at


def test_failed_recheck_marks_what_is_held() -> None:
    """Only the mark changes."""
    held = a_cached_entity(OLD, confirmed_at=5)

    assert a_cached_entity(OLD, confirmed_at=5, failed_at=7) == with_failed_recheck(held, at=7)


@given(entities(parity=0), entities(parity=1), st.floats(0, 4), st.floats(5, 9))
def test_better_order_of_two_arrivals_does_not_matter(
    one: Entity, other: Entity, one_at: float, other_at: float
) -> None:
    """What is held depends on what came, not on which came last."""
    first, second = a_cached_entity(one, confirmed_at=one_at), a_cached_entity(other, confirmed_at=other_at)

    assert merge_cached(first, second) == merge_cached(second, first)


@given(entities(), st.floats(0, 9))
def test_merging_what_is_held_changes_nothing(entity: Entity, confirmed_at: float) -> None:
    """What is sent twice is known once."""
    held = a_cached_entity(entity, confirmed_at=confirmed_at)

    assert held == merge_cached(held, held)


@pytest.mark.parametrize(("at", "confirmed_at"), [(4.0, 5.0), (5.0, 5.0), (9.0, 9.0)])
def test_a_confirmation_moves_no_place_in_the_order(at: float, confirmed_at: float) -> None:
    """Redis vouches for a set that it was sent long ago; what came in between is still the later."""
    held = a_cached_entity(OLD, confirmed_at=5)

    vouched = with_confirmation(held, at=at)

    assert confirmed_at == vouched.confirmed_at
    assert 5.0 == vouched.known_since
