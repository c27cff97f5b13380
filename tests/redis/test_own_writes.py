"""What Redis names of this process's own writes is not taken for another's, and nothing else for its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.domain.entity import EntityKey
from entitlements.redis.own_writes import NAMED_SECONDS, OwnWrites
from tests.fakes import FakeClock

KEY = EntityKey("a")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def own(clock: FakeClock) -> OwnWrites:
    return OwnWrites(clock.monotonic)


def test_a_write_is_named_once(own: OwnWrites) -> None:
    own.begun(KEY)
    own.ended(KEY, has_changed=True)

    assert own.has_named(KEY)
    assert not own.has_named(KEY)
    assert KEY not in own


def test_a_write_may_be_named_before_it_is_answered(own: OwnWrites) -> None:
    own.begun(KEY)
    named = [own.has_named(KEY), own.has_named(KEY)]
    own.ended(KEY, has_changed=True)

    assert [True, False] == named
    assert not own.has_named(KEY)


def test_writes_of_one_turn_are_named_together(own: OwnWrites) -> None:
    """The next name is another's, however many there were."""
    for _ in range(3):
        own.begun(KEY)
        own.ended(KEY, has_changed=True)

    assert own.has_named(KEY)
    assert not own.has_named(KEY)


def test_a_write_that_changed_nothing_is_not_named(own: OwnWrites) -> None:
    own.begun(KEY)
    own.ended(KEY, has_changed=False)

    assert not own.has_named(KEY)
    assert KEY not in own


def test_a_name_that_comes_late_is_another_s(own: OwnWrites, clock: FakeClock) -> None:
    """Redis may not name it at all, as nobody listened then."""
    own.begun(KEY)
    own.ended(KEY, has_changed=True)
    clock.advance(NAMED_SECONDS + 0.1)

    assert not own.has_named(KEY)
    own.begun(EntityKey("b"))
    assert KEY not in own


@given(st.lists(st.sampled_from(["begin", "end", "end in vain", "own", "foreign"]), max_size=30))
def test_no_name_of_another_is_ever_the_last_that_counts(steps: list[str]) -> None:
    """Where each is named apart: after the last foreign change the entity is looked at, sooner or later."""
    own = OwnWrites(FakeClock().monotonic)
    under_way, to_be_named, is_unseen = 0, 0, False
    for step in steps:
        match step:
            case "begin":
                own.begun(KEY)
                under_way += 1
            case "end" | "end in vain" if under_way:
                under_way -= 1
                is_unseen = not own.ended(KEY, has_changed=step == "end") and is_unseen
                to_be_named += step == "end"
            case "own" if to_be_named:
                to_be_named -= 1
                is_unseen = own.has_named(KEY) and is_unseen
            case "foreign":
                is_unseen = own.has_named(KEY)
            case _:
                pass
    if is_unseen and not under_way:
        assert to_be_named, "no name is to come that would show it"
