"""Reads: what is held, then the cloud, then a fallback; each with where it came from."""

import asyncio
import logging

import pytest
from prometheus_client import REGISTRY

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.decision import Query
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.errors import CircuitOpen, Offline, Overloaded, Unreachable
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.freshness import NEVER, UNKNOWN_CUSTOMER_SECONDS, EntityState
from entitlements.domain.ports import Source
from entitlements.domain.reason import AccessDeniedReason
from entitlements.fallbacks import ConfiguredRules
from entitlements.service import fetcher as fetching_module
from entitlements.service.answers import Provenance
from entitlements.service.reader import RECHECK_INTERVAL_SECONDS
from entitlements.service.source_chain import FetchLimits
from tests.builders import a_boolean_feature, an_entity
from tests.service.conftest import House, build_house

KEY = EntityKey("customer-1")
QUERY = Query(key=KEY, feature_id="f")


async def _hold(house: House, entity: Entity | None = None, *, key: EntityKey = KEY) -> None:
    cached = CachedEntity(
        entity=entity or an_entity(a_boolean_feature("f")), confirmed_at=house.clock.monotonic()
    )
    await house.store.store(key, cached)


def _metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_first_read_asks_the_cloud_and_the_second_does_not(house: House) -> None:
    """The cloud is asked once; the answer comes from memory from then on."""
    house.edge.answer = an_entity(a_boolean_feature("f"))

    first = await house.reader.check(QUERY)
    second = await house.reader.check(QUERY)

    assert first.decision == second.decision
    assert second.decision == first.decision
    assert first.decision.has_access
    assert Source.EDGE == first.provenance.source
    assert Source.MEMORY == second.provenance.source
    assert house.edge.asked == [KEY]


async def test_better_ws_disabled_still_caches_in_memory(house: House) -> None:
    """Without a feed, a second read within the re-check age costs no upstream call; a later one re-checks."""
    house.edge.answer = an_entity(a_boolean_feature("f"))
    await house.reader.check(QUERY)
    house.clock.advance(59)
    await house.reader.check(QUERY)
    assert len(house.edge.asked) == 1

    house.clock.advance(2)
    house.edge.reached.clear()
    answer = await house.reader.check(QUERY)

    assert answer.provenance == Provenance(source=Source.MEMORY, state=EntityState.SUSPECT, age_ms=61_000)
    await asyncio.wait_for(house.edge.reached.wait(), 1)


async def test_followed_feed_keeps_an_entity_fresh_for_ever(house: House) -> None:
    """While the feed is followed without a gap, age alone changes nothing."""
    house.feed_applier.followed()
    await _hold(house)
    house.clock.advance(1_000_000)

    answer = await house.reader.check(QUERY)

    assert answer.provenance.state is EntityState.FRESH
    assert house.revalidator.waiting == 0


async def test_suspect_answers_at_once_and_is_checked_in_the_background(house: House) -> None:
    """After a gap the held answer is given without waiting for the cloud."""
    house.feed_applier.followed()
    await _hold(house)
    house.clock.advance(2)
    house.feed_applier.missed("test")
    house.edge.gate = asyncio.Event()

    answer = await house.reader.check(QUERY)

    assert answer.decision.has_access
    assert answer.provenance.state is EntityState.SUSPECT
    assert house.revalidator.waiting == 1


async def test_entity_is_not_rechecked_more_often_than_the_interval(house: House) -> None:
    """A busy suspect does not eat the rate of all the others."""
    await _hold(house)
    house.feed_applier.missed("test")
    house.clock.advance(RECHECK_INTERVAL_SECONDS / 2)
    house.feed_applier.missed("test")

    await house.reader.check(QUERY)

    assert house.revalidator.waiting == 0


async def test_failed_recheck_leaves_a_stale_answer(house: House) -> None:
    """When the cloud does not answer, the last known is given and marked, and counted."""
    await _hold(house)
    await house.store.mark_recheck_failed(KEY, at=house.clock.monotonic())
    before = _metric("sidecar_stale_answers_total")

    answer = await house.reader.check(QUERY)

    assert answer.decision.has_access
    assert not answer.decision.is_fallback
    assert answer.provenance.state is EntityState.STALE
    assert _metric("sidecar_stale_answers_total") == before + 1


async def test_unknown_customer_is_known_as_unknown_for_a_short_time(house: House) -> None:
    """better.md: an unknown customer is short-lived."""
    house.feed_applier.followed()
    await _hold(house, Entity(denied_reason=AccessDeniedReason.CUSTOMER_NOT_FOUND))
    house.clock.advance(UNKNOWN_CUSTOMER_SECONDS + 0.1)

    answer = await house.reader.check(QUERY)

    assert answer.provenance.state is EntityState.SUSPECT
    assert house.revalidator.waiting == 1


class TestExpired:
    """`validUntil` ≤ now: the cloud recalculates (contract/evaluation.md, section 1)."""

    async def test_cloud_is_asked_as_on_a_miss(self, house: House) -> None:
        await self._hold_expired(house)
        house.edge.answer = an_entity(
            a_boolean_feature("f", denied_reason=AccessDeniedReason.REVOKED), updated_at_ms=9
        )

        answer = await house.reader.check(QUERY)

        assert answer.decision.reason is AccessDeniedReason.REVOKED
        assert answer.provenance.source is Source.EDGE

    async def test_better_expired_valid_until_with_the_cloud_away_is_stale(self, house: House) -> None:
        await self._hold_expired(house)
        house.edge.answer = house.api.answer = Unreachable("edge")

        answer = await house.reader.check(QUERY)

        assert answer.decision.has_access
        assert not answer.decision.is_fallback
        assert answer.provenance.state is EntityState.STALE

    async def test_failed_recalculation_is_retried_with_a_pause_and_not_by_callers(
        self, house: House
    ) -> None:
        await self._hold_expired(house)
        house.edge.answer = house.api.answer = Unreachable("edge")
        await house.reader.check(QUERY)
        await house.reader.check(QUERY)
        assert 1 == len(house.edge.asked)
        assert 0 == house.revalidator.waiting

        house.clock.advance(RECHECK_INTERVAL_SECONDS)
        await house.reader.check(QUERY)

        assert 1 == len(house.edge.asked)
        assert 1 == house.revalidator.waiting

    async def test_cloud_that_does_not_recalculate_settles_it_for_a_while(self, house: House) -> None:
        await self._hold_expired(house)
        house.edge.answer = self._expired(house)
        await house.reader.check(QUERY)

        await house.reader.check(QUERY)

        assert len(house.edge.asked) == 1

    async def test_another_feature_may_be_expired(self, house: House) -> None:
        await self._hold_expired(house)

        answer = await house.reader.check(Query(key=KEY, feature_id="g"))

        assert answer.provenance.source is Source.MEMORY

    async def test_list_is_recalculated_when_anything_is_expired(self, house: House) -> None:
        await self._hold_expired(house)
        house.edge.answer = an_entity(a_boolean_feature("new"), updated_at_ms=9)

        answer = await house.reader.list(KEY)

        assert ["new"] == [decision.id for decision in answer.entitlements.decisions]

    def _expired(self, house: House) -> Entity:
        return an_entity(
            a_boolean_feature("f", valid_until_ms=house.clock.now_ms()),
            a_boolean_feature("g"),
        )

    async def _hold_expired(self, house: House) -> None:
        await _hold(house, self._expired(house))
        house.clock.advance(RECHECK_INTERVAL_SECONDS)


class TestFallbacks:
    """What is answered when there is nothing to decide from."""

    async def test_failed_fetch_answers_the_fallback_and_counts_the_cause(self) -> None:
        house = build_house(rules=ConfiguredRules({"f": FallbackValue(has_access=True)}))
        house.edge.answer = house.api.answer = Unreachable("edge")
        before = _metric("sidecar_fallbacks_total", cause="unreachable", feature="f")

        answer = await house.reader.check(QUERY)

        assert answer.decision.is_fallback
        assert answer.decision.has_access
        assert Provenance(source=Source.FALLBACK) == answer.provenance
        assert _metric("sidecar_fallbacks_total", cause="unreachable", feature="f") == before + 1

    async def test_feature_without_a_rule_is_counted_as_other(self, house: House) -> None:
        house.edge.answer = house.api.answer = CircuitOpen("edge")
        before = _metric("sidecar_fallbacks_total", cause="circuit_open", feature="other")

        await house.reader.check(QUERY)

        assert _metric("sidecar_fallbacks_total", cause="circuit_open", feature="other") == before + 1

    async def test_overload_is_a_cause_of_its_own(self) -> None:
        house = build_house(limits=FetchLimits(budget_seconds=0.01, concurrency=1, queue_size=0))
        house.edge.gate = asyncio.Event()
        flying = asyncio.create_task(house.reader.check(QUERY))
        await house.edge.reached.wait()
        before = _metric("sidecar_fallbacks_total", cause="overloaded", feature="other")

        answer = await house.reader.list(EntityKey("customer-2"))

        assert answer.entitlements.decisions == ()
        assert _metric("sidecar_fallbacks_total", cause="overloaded", feature="other") == before + 1
        house.edge.gate.set()
        await flying

    async def test_offline_is_reported_as_the_source(self, house: House) -> None:
        house.edge.answer = house.api.answer = Offline("api")

        answer = await house.reader.check(QUERY)

        assert Provenance(source=Source.OFFLINE) == answer.provenance

    async def test_failed_list_lists_the_configured_features(self) -> None:
        house = build_house(rules=ConfiguredRules({"f": FallbackValue(has_access=True)}))
        house.edge.answer = house.api.answer = Unreachable("edge")

        answer = await house.reader.list(KEY)

        assert ["f"] == [decision.id for decision in answer.entitlements.decisions]

    async def test_type_mismatch_is_counted(self, house: House) -> None:
        await _hold(house)
        before = _metric("sidecar_fallbacks_total", cause="no_match", feature="other")

        answer = await house.reader.check(Query(key=KEY, feature_id="missing"))

        assert answer.decision.is_fallback
        assert answer.decision.reason is AccessDeniedReason.NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION
        assert _metric("sidecar_fallbacks_total", cause="no_match", feature="other") == before + 1

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            (Query(key=EntityKey(""), feature_id="f"), "customer_id"),
            (Query(key=KEY), "feature_id"),
            (Query(key=KEY, feature_id="f", currency_id="c"), "feature_id"),
        ],
    )
    async def test_invalid_read_is_answered_counted_and_warned_about_once(
        self, house: House, query: Query, field: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = _metric("sidecar_invalid_reads_total", field=field)

        with caplog.at_level(logging.WARNING):
            answers = [await house.reader.check(query) for _ in range(3)]

        assert all(answer.decision.is_fallback for answer in answers)
        assert _metric("sidecar_invalid_reads_total", field=field) == before + 3
        assert 1 == sum(field in record.getMessage() for record in caplog.records)
        assert not house.edge.asked

    async def test_list_of_nobody_is_answered_by_fallbacks(self, house: House) -> None:
        answer = await house.reader.list(EntityKey(""))

        assert answer.entitlements.decisions == ()
        assert not house.edge.asked


async def test_list_of_a_held_entity_comes_from_memory(house: House) -> None:
    """Lists use the same tiers as checks."""
    await _hold(house)

    answer = await house.reader.list(KEY)

    assert ["f"] == [decision.id for decision in answer.entitlements.decisions]
    assert answer.provenance.source is Source.MEMORY


async def test_age_is_unknown_when_nothing_ever_confirmed_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A doubted fetch has no moment of confirmation to count from."""
    monkeypatch.setattr(fetching_module, "MAX_ASKS", 1)
    house.edge.gate = asyncio.Event()
    reader = asyncio.create_task(house.reader.check(QUERY))
    await house.edge.reached.wait()
    house.fetcher.doubt(KEY)
    house.edge.gate.set()

    answer = await reader

    assert answer.provenance == Provenance(source=Source.EDGE, state=EntityState.SUSPECT, age_ms=None)


def test_overload_has_a_sentence() -> None:
    """What a caller of a write would get."""
    assert "SIDECAR_FETCH_QUEUE_SIZE" in str(Overloaded("SIDECAR_FETCH_QUEUE_SIZE"))


async def test_held_answer_needs_no_loop(house: House) -> None:
    """What memory knows is answered on any thread; what it does not know is left to `check`, uncounted."""
    misses = _metric("sidecar_cache_misses_total")
    unknown = await asyncio.to_thread(house.reader.check_held, QUERY)
    await _hold(house)
    held = await asyncio.to_thread(house.reader.check_held, QUERY)

    assert unknown is None
    assert held == await house.reader.check(QUERY)
    assert misses == _metric("sidecar_cache_misses_total")
    assert house.edge.asked == []


async def test_all_of_a_read_is_about_one_moment(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state, the age and the decision: with a clock that goes on between them it was of several."""
    house.edge.answer = an_entity(a_boolean_feature("f"))
    await house.reader.check(QUERY)
    asked: list[str] = []
    both = house.clock.both

    def once() -> tuple[float, int]:
        asked.append("both")
        return both()

    monkeypatch.setattr(house.clock, "both", once)
    monkeypatch.setattr(house.clock, "monotonic", lambda: asked.append("monotonic"))
    monkeypatch.setattr(house.clock, "now_ms", lambda: asked.append("now_ms"))

    answer = house.reader.check_held(QUERY)

    assert answer is not None
    assert ["both"] == asked


LACKING = CachedEntity(entity=an_entity(a_boolean_feature("f")), confirmed_at=NEVER, lacks_usages=True)
"""As Redis has it where an official writer left usages out."""


async def test_a_check_needs_no_usages_that_were_left_out(house: House) -> None:
    """It is answered at once, and checked again behind that."""
    house.edge.answer = an_entity(a_boolean_feature("f"))
    await house.store.store(KEY, LACKING)

    answer = await house.reader.check(QUERY)
    await asyncio.wait_for(house.edge.reached.wait(), 1)

    assert Source.MEMORY == answer.provenance.source
    assert EntityState.SUSPECT == answer.provenance.state


async def test_a_list_needs_usages_that_were_left_out(house: House) -> None:
    house.edge.answer = house.api.answer = an_entity(a_boolean_feature("f"), a_boolean_feature("g"))
    await house.store.store(KEY, LACKING)

    first, second = await house.reader.list(KEY), await house.reader.list(KEY)

    assert [Source.API, Source.MEMORY] == [each.provenance.source for each in (first, second)]
    assert 2 == len(first.decisions)


async def test_a_list_has_what_is_there_where_the_cloud_fails(house: House) -> None:
    house.edge.answer = house.api.answer = Unreachable("edge")
    await house.store.store(KEY, LACKING)

    answer = await house.reader.list(KEY)

    assert Source.MEMORY == answer.provenance.source
    assert EntityState.STALE == answer.provenance.state
    assert 1 == len(answer.decisions)
