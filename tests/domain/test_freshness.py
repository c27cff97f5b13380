"""Fresh, suspect, stale."""

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity
from entitlements.domain.freshness import (
    NEVER,
    EntityState,
    Trust,
    fresh_until,
    is_unknown_customer,
    state_of,
)
from entitlements.domain.reason import AccessDeniedReason
from tests.builders import a_boolean_feature, a_cached_entity, a_credit, an_entity

UNFOLLOWED = Trust(max_unverified_seconds=60)
FOLLOWED = UNFOLLOWED.followed(100)


def _is_fresh(trust: Trust, confirmed_at: float, now: float) -> bool:
    return now <= trust.fresh_until(CachedEntity(entity=Entity(), confirmed_at=confirmed_at))


gaps = st.lists(
    st.tuples(st.sampled_from(["followed", "lost", "doubted"]), st.floats(0.001, 100)), max_size=12
)


def _after(trust: Trust, changes: list[tuple[str, float]], *, now: float) -> tuple[Trust, float]:
    """The trust after these changes, each so many seconds after the one before; and when that is."""
    for change, seconds in changes:
        now += seconds
        match change:
            case "followed":
                trust = trust.followed(now)
            case "lost":
                trust = trust.lost(now)
            case _:
                trust = trust.doubted(now)
    return trust, now


def test_trust_begins_unfollowed() -> None:
    """Before the first connect nothing is reported, and nothing was missed."""
    assert Trust(following=False, since=NEVER, max_unverified_seconds=60) == UNFOLLOWED


def test_followed_feed_is_trusted_from_then_on() -> None:
    """What was confirmed before the connect may have changed unseen; what came since stays fresh."""
    freshness = [_is_fresh(FOLLOWED, 99.9, 100), _is_fresh(FOLLOWED, 100, 100), _is_fresh(FOLLOWED, 100, 1e9)]

    assert [False, True, True] == freshness


def test_lost_feed_makes_all_suspect_that_was_confirmed_before() -> None:
    """Nothing is emptied, and nothing from before the loss is fresh."""
    trust = FOLLOWED.lost(200)

    assert Trust(following=False, since=200, max_unverified_seconds=60) == trust
    assert not _is_fresh(trust, 199, 200)
    assert _is_fresh(trust, 200, 200)


def test_second_loss_changes_nothing() -> None:
    """A connect that fails misses no more than was missed already."""
    assert FOLLOWED.lost(200) == FOLLOWED.lost(200).lost(300)


def test_doubt_keeps_following() -> None:
    """After a mass change the feed goes on, and only what is confirmed later is fresh."""
    trust = FOLLOWED.doubted(200)

    assert Trust(following=True, since=200, max_unverified_seconds=60) == trust
    assert not _is_fresh(trust, 199, 200)
    assert _is_fresh(trust, 200, 900)


@pytest.mark.parametrize(("age_seconds", "is_fresh"), [(60, True), (60.5, False)])
def test_better_unfollowed_is_re_checked_by_age(age_seconds: float, is_fresh: bool) -> None:
    """Without a feed, memory is still used, up to the configured age."""
    assert is_fresh is _is_fresh(UNFOLLOWED, 1_000, 1_000 + age_seconds)


@pytest.mark.parametrize(
    ("entity", "unknown"),
    [
        (an_entity(), True),
        (an_entity(denied_reason=AccessDeniedReason.CUSTOMER_NOT_FOUND), True),
        (an_entity(denied_reason=AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION), False),
        (an_entity(a_boolean_feature(), denied_reason=AccessDeniedReason.CUSTOMER_NOT_FOUND), False),
        (an_entity(a_credit()), False),
    ],
)
def test_unknown_customer_has_nothing_and_no_other_reason(entity: Entity, unknown: bool) -> None:
    """An archived customer, or one without a subscription, is known."""
    assert unknown is is_unknown_customer(entity)


def test_confirmed_entity_is_fresh() -> None:
    """Nothing was missed since."""
    assert EntityState.FRESH is state_of(a_cached_entity(confirmed_at=100), trust=FOLLOWED, now=10_000)


def test_entity_of_before_a_gap_is_suspect() -> None:
    """A change may have been missed."""
    assert EntityState.SUSPECT is state_of(a_cached_entity(confirmed_at=99), trust=FOLLOWED, now=100)


def test_entity_that_was_asked_for_in_vain_is_stale() -> None:
    """The last that is known, whatever the feed says."""
    cached = a_cached_entity(confirmed_at=100, failed_at=101)

    assert EntityState.STALE is state_of(cached, trust=FOLLOWED, now=102)


@pytest.mark.parametrize(
    ("age_seconds", "state"),
    [(5.0, EntityState.FRESH), (5.1, EntityState.SUSPECT)],
)
def test_better_unknown_customer_is_short_lived(age_seconds: float, state: EntityState) -> None:
    """An unknown customer may be signing up right now, so it is asked for again soon."""
    cached = a_cached_entity(an_entity(), confirmed_at=100)

    assert state is state_of(cached, trust=FOLLOWED, now=100 + age_seconds)


@given(gaps, st.sampled_from(["followed", "doubted"]), gaps, st.floats(0.001, 1_000))
def test_nothing_from_before_a_gap_is_fresh_again(
    earlier: list[tuple[str, float]], gap: str, later: list[tuple[str, float]], age_seconds: float
) -> None:
    """Whatever the feed does afterwards, only a new confirmation makes fresh."""
    trust, gap_at = _after(UNFOLLOWED, [*earlier, (gap, 1.0)], now=0.0)

    trust, now = _after(trust, later, now=gap_at)

    assert not _is_fresh(trust, gap_at - age_seconds, now)


@given(gaps, st.floats(0.001, 1_000), st.floats(0.001, 1_000))
def test_nothing_from_before_a_loss_is_fresh_again(
    later: list[tuple[str, float]], seconds: float, age_seconds: float
) -> None:
    """A feed that comes back does not say what it missed."""
    lost_at = 100 + seconds

    trust, now = _after(FOLLOWED.lost(lost_at), later, now=lost_at)

    assert not _is_fresh(trust, lost_at - age_seconds, now)


@given(gaps, st.floats(0, 1_000))
def test_what_was_confirmed_since_the_last_change_is_fresh(
    changes: list[tuple[str, float]], seconds: float
) -> None:
    """Followed for good, unfollowed for as long as is configured."""
    trust, now = _after(UNFOLLOWED, changes, now=0.0)

    is_fresh = _is_fresh(trust, now, now + seconds)

    assert is_fresh is (trust.following or now + seconds <= now + 60)


@given(gaps, st.floats(0, 500), st.floats(0, 500), st.floats(0, 500))
def test_later_confirmation_is_no_less_fresh(
    changes: list[tuple[str, float]], one: float, other: float, seconds: float
) -> None:
    """Of two confirmations, the later is fresh where the earlier is."""
    trust, now = _after(UNFOLLOWED, changes, now=0.0)
    earlier, later = sorted([one, other])

    freshness = [_is_fresh(trust, at, now + seconds) for at in (earlier, later)]

    assert freshness in ([False, False], [False, True], [True, True])


@given(
    changes=gaps,
    is_known=st.booleans(),
    confirmed_before=st.integers(0, 100),
    later=st.integers(0, 200),
)
def test_fresh_until(
    changes: list[tuple[str, float]], is_known: bool, confirmed_before: int, later: int
) -> None:
    """While the trust stays the same, what is fresh now is fresh exactly until then."""
    trust, now = _after(UNFOLLOWED, changes, now=1000.0)
    now = float(round(now) + 1)
    entity = an_entity(a_boolean_feature()) if is_known else Entity()
    cached = a_cached_entity(entity, confirmed_at=now - confirmed_before)
    assume(state_of(cached, trust=trust, now=now) is EntityState.FRESH)

    is_fresh_later = state_of(cached, trust=trust, now=now + later) is EntityState.FRESH

    age_seconds = confirmed_before + later
    may_be_fresh = (trust.following or age_seconds <= 60) and (is_known or age_seconds <= 5)
    assert may_be_fresh is is_fresh_later
    assert (now + later <= fresh_until(cached, trust=trust)) is is_fresh_later


HEARD = Trust(max_unverified_seconds=60, following=True, since=100, tracked_since=100, through_redis=True)
LOOKED_AT = CachedEntity(entity=an_entity(a_boolean_feature("f")), confirmed_at=150, looked_at=150)


@pytest.mark.parametrize(
    ("cached", "must_look", "is_fresh"),
    [
        (LOOKED_AT, False, True),
        (replace(LOOKED_AT, named_at=151), True, False),
        (replace(LOOKED_AT, named_at=149), False, True),
        (replace(LOOKED_AT, looked_at=99, confirmed_at=99), True, False),
        (replace(LOOKED_AT, looked_at=None), True, True),
        (replace(LOOKED_AT, is_missing=True), False, True),
        (replace(LOOKED_AT, is_missing=True, named_at=149), False, False),
        (replace(LOOKED_AT, is_missing=True, named_at=149, is_news=False), False, True),
    ],
    ids=[
        "as there",
        "named",
        "named before",
        "before a gap",
        "never looked at",
        "not there",
        "removed there",
        "evicted there",
    ],
)
def test_what_redis_names_is_looked_at_before_it_answers(
    cached: CachedEntity, must_look: bool, is_fresh: bool
) -> None:
    """And what nobody names any more, since Redis lost it, is not relied on for long."""
    assert must_look == HEARD.must_look(cached, 160)
    assert is_fresh == (160 <= HEARD.fresh_until(cached))


def test_what_redis_does_not_hold_is_relied_on_by_its_age() -> None:
    """A follower hears of changes in Redis alone; who follows the feed itself hears of them all."""
    missing = replace(LOOKED_AT, is_missing=True)

    assert 210 == HEARD.fresh_until(missing)
    assert math.inf == replace(HEARD, through_redis=False).fresh_until(missing)
    assert 210 == fresh_until(missing, trust=HEARD)


def test_where_redis_names_nothing_it_is_looked_at_there_by_its_age() -> None:
    deaf = replace(HEARD, following=False)

    assert not deaf.must_look(LOOKED_AT, 210)
    assert deaf.must_look(LOOKED_AT, 210.5)
