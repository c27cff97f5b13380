"""Replies that stand: the same answer as a fresh decision, or none."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from entitlements import metrics
from entitlements.deferred_metrics import settle_all
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.cached_response import ResponseKey
from entitlements.domain.decision import Query
from entitlements.domain.entity import EntityKey
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.freshness import EntityState
from entitlements.domain.ports import Source
from entitlements.service.answers import Answer, ListAnswer
from tests.builders import (
    A_KEY,
    NOW_MS,
    a_boolean_feature,
    a_cached_entity,
    a_metered_feature,
    a_query,
    a_usage,
    an_entity,
)
from tests.service.conftest import House, build_house

QUESTION = ("/s/Ask", b"flag?")


def hold(house: House, key: EntityKey = A_KEY, cached: CachedEntity | None = None) -> CachedEntity:
    """Memory holds an entity, confirmed now unless given otherwise."""
    cached = cached or a_cached_entity(confirmed_at=house.clock.seconds)
    memory: Any = house.store
    held: CachedEntity = memory._memory.update(key, lambda _: cached)
    return held


def ask(house: House, query: Query, question: ResponseKey = QUESTION) -> None:
    """Has a query answered from memory, and its reply remembered."""
    answer = house.reader.check_held(query)
    assert isinstance(answer, Answer)
    house.response_cache.remember(question, b"reply", answer)


def test_fresh_reply_stands_and_its_age_grows(house: House) -> None:
    """With the milliseconds since the entity was confirmed."""
    house.feed_applier.followed()
    hold(house)
    ask(house, a_query("flag"))
    house.clock.advance(1.5)

    assert (b"reply", 1500) == house.response_cache.recall(QUESTION)
    assert None is house.response_cache.recall(("/s/Ask", b"another"))


def test_recall_counts_as_a_hit(house: House) -> None:
    """Once settled; a question that must be decided counts nothing."""
    house.feed_applier.followed()
    hold(house)
    ask(house, a_query("flag"))
    settle_all()
    before = metrics.CACHE_HITS._value.get()
    house.response_cache.recall(QUESTION)
    house.response_cache.recall(("/s/Ask", b"another"))
    settle_all()

    assert before + 1 == metrics.CACHE_HITS._value.get()


@pytest.mark.parametrize("change", ["lost", "followed", "missed"])
def test_change_of_the_feed_ends_a_reply(house: House, change: str) -> None:
    """A gap makes the entity suspect: it is to be re-checked, which deciding does."""
    house.feed_applier.followed()
    hold(house)
    ask(house, a_query("flag"))
    match change:
        case "missed":
            house.feed_applier.missed("test")
        case _:
            getattr(house.feed_applier, change)()

    assert None is house.response_cache.recall(QUESTION)


def test_unfollowed_reply_ends_with_its_freshness(house: House) -> None:
    """Without a feed an entity is suspect after SIDECAR_MAX_UNVERIFIED_SECONDS."""
    hold(house)
    ask(house, a_query("flag"))
    house.clock.advance(60)
    assert (b"reply", 60_000) == house.response_cache.recall(QUESTION)
    house.clock.advance(0.001)

    assert None is house.response_cache.recall(QUESTION)


@pytest.mark.parametrize(
    ("feature", "id_"),
    [
        (a_metered_feature(usage=a_usage(3, period_end_ms=NOW_MS + 1000)), "seats"),
        (a_boolean_feature(valid_until_ms=NOW_MS + 1000), "flag"),
    ],
)
def test_boundary_of_the_clock_ends_a_reply(house: House, feature: Any, id_: str) -> None:
    """A period's end, a valid-until; and a clock that is set back."""
    house.clock.wall_ms = NOW_MS
    house.feed_applier.followed()
    hold(house, cached=a_cached_entity(an_entity(feature), confirmed_at=house.clock.seconds))
    ask(house, a_query(id_))

    stands = []
    for wall_ms in (NOW_MS - 1, NOW_MS, NOW_MS + 999, NOW_MS + 1000):
        house.clock.wall_ms = wall_ms
        stands.append(house.response_cache.recall(QUESTION) is not None)
    assert [False, True, True, False] == stands


def test_fallback_is_not_remembered(house: House) -> None:
    """Its rules may change at any time."""
    house.feed_applier.followed()
    hold(house)
    ask(house, a_query("absent"))

    assert None is house.response_cache.recall(QUESTION)


@pytest.mark.parametrize(
    "cached",
    [
        a_cached_entity(confirmed_at=0.0),
        a_cached_entity(confirmed_at=1000.0, failed_at=999.9),
        a_cached_entity(
            an_entity(a_metered_feature("flag", usage=replace(a_usage(1), is_estimate=True))),
            confirmed_at=1000.0,
        ),
    ],
    ids=["suspect", "stale", "estimate"],
)
def test_only_fresh_answers_are_remembered(house: House, cached: CachedEntity) -> None:
    """The others carry a mark that must not outlive its reason."""
    house.feed_applier.followed()
    hold(house, cached=cached)
    ask(house, a_query("flag"))

    assert None is house.response_cache.recall(QUESTION)


def test_feed_that_changes_while_a_reply_is_made(house: House) -> None:
    """What was decided before the gap is suspect after it: it is not remembered as if it came after."""
    house.feed_applier.followed()
    hold(house)
    house.clock.advance(1)
    answer = house.reader.check_held(a_query("flag"))
    assert isinstance(answer, Answer)
    house.feed_applier.missed("test")
    house.response_cache.remember(QUESTION, b"reply", answer)

    assert None is house.response_cache.recall(QUESTION)


async def test_answer_of_nothing_known_is_not_remembered(house: House) -> None:
    """There is no entity whose change would end it."""
    answer = await house.reader.check(a_query("", key=EntityKey("")))
    house.response_cache.remember(QUESTION, b"reply", answer)

    assert None is house.response_cache.recall(QUESTION)


async def test_list_is_remembered_as_a_check_is(house: House) -> None:
    """By the earliest boundary of all that it lists."""
    house.feed_applier.followed()
    hold(house)
    answer = house.reader.list_held(A_KEY)
    assert isinstance(answer, ListAnswer)
    house.response_cache.remember(QUESTION, b"list", answer)

    assert (b"list", 0) == house.response_cache.recall(QUESTION)


class RememberedIsDecided(RuleBasedStateMachine):
    """Whatever changes in whatever order: a recalled reply is what deciding now would answer, fresh."""

    @initialize()
    def start(self) -> None:
        self.house = build_house()

    keys = st.sampled_from([EntityKey("a"), EntityKey("b"), EntityKey("a", "r")])
    ids = st.sampled_from(["flag", "seats", "absent"])
    usages = st.sampled_from([None, 1.0, 3.0])

    @rule(
        key=keys,
        used=st.integers(0, 6),
        end=st.integers(-5, 20),
        is_granted=st.booleans(),
        late=st.sampled_from([0.0, 1.0, 100.0]),
        has_failed=st.booleans(),
    )
    def replace_entity(
        self, key: EntityKey, used: int, end: int, is_granted: bool, late: float, has_failed: bool
    ) -> None:
        now_ms = self.house.clock.wall_ms
        seats = a_metered_feature(usage=a_usage(used, period_end_ms=now_ms + end * 1000))
        flag = a_boolean_feature(valid_until_ms=now_ms + 2 * end * 1000)
        entity = an_entity(seats, flag) if is_granted else an_entity(seats)
        at = self.house.clock.seconds - late
        hold(self.house, key, a_cached_entity(entity, confirmed_at=at, failed_at=at if has_failed else None))

    @rule(seconds=st.sampled_from([0.001, 1.0, 7.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.house.clock.advance(seconds)

    @rule(seconds=st.integers(-20, 20))
    def set_the_wall_clock(self, seconds: int) -> None:
        self.house.clock.wall_ms += seconds * 1000

    @rule(change=st.sampled_from(["followed", "lost"]))
    def change_the_feed(self, change: str) -> None:
        getattr(self.house.feed_applier, change)()

    @rule(has_access=st.booleans())
    def change_the_fallback(self, has_access: bool) -> None:
        self.house.rules._rules = {"absent": FallbackValue(has_access=has_access)}

    @rule(key=keys, id_=ids, usage=usages)
    def ask(self, key: EntityKey, id_: str, usage: float | None) -> None:
        query = a_query(id_, key=key, requested_usage=usage)
        question = ("/s/Ask", repr(query).encode())
        recalled = self.house.response_cache.recall(question)
        answer = self.house.reader.check_held(query)
        if recalled is not None:
            assert isinstance(answer, Answer)
            reply, age_ms = recalled
            assert repr(answer.decision).encode() == reply
            assert answer.provenance.age_ms == age_ms
            assert Source.MEMORY == answer.provenance.source
            assert EntityState.FRESH == answer.provenance.state
        elif isinstance(answer, Answer):
            self.house.response_cache.remember(question, repr(answer.decision).encode(), answer)


TestRememberedIsDecided = RememberedIsDecided.TestCase
TestRememberedIsDecided.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
