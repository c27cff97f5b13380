"""Overrides of the database: in force at once, for no moment longer than they were given."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest
from django.db import DatabaseError

from entitlements import metrics
from entitlements.background import Background
from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import Unreachable
from entitlements.domain.override import Override
from entitlements.domain.ports import Source
from entitlements.json_fields import Malformed
from entitlements.models import EntitlementOverride
from entitlements.overrides import ledger
from entitlements.overrides.codec import merged, override_from, record_of
from entitlements.overrides.duration import duration_ms
from entitlements.overrides.following import NOTED_MS, StoredOverrides
from entitlements.overrides.table import OverrideTable
from entitlements.redis.shared_records import SharedRecords
from entitlements.service.answers import Answer, ListAnswer
from entitlements.service.entity_history import EntityHistory
from tests.builders import A_KEY, a_boolean_feature, a_cached_entity, a_query, an_entity, an_override
from tests.fakes import FakeClock
from tests.redis.parts import KEYS, a_connection
from tests.redis_server import RedisServer
from tests.service.conftest import House, build_house

HOUR_MS = 3_600_000
QUESTION = ("/s/Ask", b"f?")
pytestmark = pytest.mark.django_db(transaction=True)


def an_hour_s(clock: FakeClock, **terms: Any) -> Override:
    return an_override(begins_ms=clock.wall_ms, **terms)


def stored(clock: FakeClock, **options: Any) -> StoredOverrides:
    return StoredOverrides(clock=clock, changed=lambda: None, **options)


async def begun(overrides: StoredOverrides, override: Override) -> None:
    await asyncio.to_thread(ledger.begin, override)
    await overrides.refresh()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_it_is_in_force_from_the_next_look_and_ends_to_the_millisecond(clock: FakeClock) -> None:
    """With no look between; a look notes that its time has come."""
    overrides, override = stored(clock), an_hour_s(clock)
    await begun(overrides, override)
    found = [overrides.find(a_query())]
    clock.advance(HOUR_MS / 1000 - 0.001)
    found.append(overrides.find(a_query()))
    clock.advance(0.001)
    found.append(overrides.find(a_query()))
    await overrides.refresh()

    assert [override, override, None] == found
    assert override.ends_ms == (await EntitlementOverride.objects.aget()).ended_ms


@pytest.mark.parametrize("key", [EntityKey("customer-1", "r"), EntityKey("customer-2")])
async def test_it_is_about_one_customer_or_resource(clock: FakeClock, key: EntityKey) -> None:
    overrides = stored(clock)
    await begun(overrides, an_hour_s(clock))

    assert overrides.find(a_query()) is not None
    assert overrides.find(a_query("g")) is None
    assert overrides.find(a_query(key=key)) is None


@pytest.mark.parametrize("set_by_ms", [-HOUR_MS, -9 * HOUR_MS, HOUR_MS, 9 * HOUR_MS])
async def test_a_clock_that_is_set_prolongs_nothing(clock: FakeClock, set_by_ms: int) -> None:
    """Back: it ends by the monotonic clock. Ahead: it may end early."""
    overrides = stored(clock)
    await begun(overrides, an_hour_s(clock))
    clock.wall_ms += set_by_ms
    await overrides.refresh()
    clock.seconds += HOUR_MS / 1000 - 1
    found_before = overrides.find(a_query())
    clock.seconds += 1
    found_after = overrides.find(a_query())
    await overrides.refresh()
    clock.wall_ms -= 9 * HOUR_MS
    await overrides.refresh()

    assert (found_before is None) == (set_by_ms > 0)
    assert found_after is None
    assert overrides.find(a_query()) is None
    assert stored(clock).in_force() == []


async def test_one_that_ended_stays_ended_over_a_restart_with_the_clock_set_back(clock: FakeClock) -> None:
    overrides = stored(clock)
    await begun(overrides, an_hour_s(clock))
    clock.advance(HOUR_MS / 1000)
    await overrides.refresh()
    clock.wall_ms -= HOUR_MS // 2
    restarted = stored(clock)
    await restarted.refresh()

    assert restarted.find(a_query()) is None


async def test_a_restart_with_the_clock_set_back_gives_no_more_than_its_duration(clock: FakeClock) -> None:
    await begun(stored(clock), an_hour_s(clock))
    clock.wall_ms -= 100 * HOUR_MS
    restarted = stored(clock)
    await restarted.refresh()
    clock.advance(HOUR_MS / 1000)

    assert restarted.find(a_query()) is None


async def test_a_restart_before_its_end_with_the_clock_set_back_gives_no_second_time(
    clock: FakeClock,
) -> None:
    """How long it has left was noted meanwhile: to NOTED_MS, and not to the time of the restart."""
    overrides = stored(clock)
    await begun(overrides, an_hour_s(clock))
    clock.advance(HOUR_MS / 1000 - 55)
    await overrides.refresh()
    clock.wall_ms -= 100 * HOUR_MS
    restarted = stored(clock)
    await restarted.refresh()
    clock.advance(54)
    found = [restarted.find(a_query())]
    clock.advance(1 + NOTED_MS / 1000)
    found.append(restarted.find(a_query()))

    assert [True, False] == [each is not None for each in found]


async def test_a_restart_keeps_it(clock: FakeClock) -> None:
    override = an_hour_s(clock, usage_limit=5.0)
    await begun(stored(clock), override)
    restarted = stored(clock)
    await restarted.refresh()

    assert [override] == restarted.in_force()


async def test_a_later_one_takes_the_place_of_the_one_before(clock: FakeClock) -> None:
    """For good: what it replaced does not come back when it ends."""
    overrides = stored(clock)
    await begun(overrides, an_hour_s(clock, lasts_ms=9 * HOUR_MS))
    clock.advance(1)
    later = an_hour_s(clock, has_access=False)
    await begun(overrides, later)
    while_both = overrides.in_force()
    clock.advance(HOUR_MS / 1000)
    await overrides.refresh()

    assert [later] == while_both
    assert [] == overrides.in_force()


async def test_it_is_ended_by_a_person(clock: FakeClock) -> None:
    overrides, override = stored(clock), an_hour_s(clock)
    await begun(overrides, override)
    clock.advance(1)
    ended = await asyncio.to_thread(ledger.end, override.id, by="boss", now_ms=clock.wall_ms)
    again = await asyncio.to_thread(ledger.end, override.id, by="boss", now_ms=clock.wall_ms)
    await overrides.refresh()

    assert ended is not None
    assert "boss" == ended.ended_by
    assert clock.wall_ms == ended.ended_ms
    assert again is None
    assert overrides.find(a_query()) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reason": " "}, "reason must be given"),
        ({"key": EntityKey("c" * 1001)}, "customer_id must be no longer than 1000"),
        ({"feature_id": "f\x00"}, "feature_id must be no longer than 255"),
    ],
)
def test_what_cannot_be_begun_is_refused_by_its_field(
    clock: FakeClock, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ledger.Refused, match=words):
        ledger.begin(replace(an_hour_s(clock), **change))
    assert EntitlementOverride.objects.count() == 0


def test_no_more_run_than_may(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more of the same takes the place of the first, and is no more."""
    monkeypatch.setattr(ledger, "MAX_RUNNING", 1)
    ledger.begin(an_hour_s(clock))
    ledger.begin(replace(an_hour_s(clock), id="again"))

    with pytest.raises(ledger.Refused, match="1 overrides run already"):
        ledger.begin(an_hour_s(clock, feature_id="g"))
    assert {"f-1750000000000", "again"} == {each.id for each in ledger.history(limit=9)}


async def test_a_row_that_is_none_is_left_out_and_named(clock: FakeClock) -> None:
    await begun(stored(clock), an_hour_s(clock))
    await begun(stored(clock), an_hour_s(clock, feature_id="g"))
    await EntitlementOverride.objects.filter(feature_id="g").aupdate(enum_values=5)
    overrides, background = stored(clock, poll_seconds=0.01), Background(clock.monotonic)
    async with overrides.followed(background):
        assert ["f"] == [each.feature_id for each in overrides.in_force()]
        assert background.states["overrides"].skipped >= 1


async def test_what_runs_goes_on_to_its_end_while_the_database_is_away(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = stored(clock)
    await begun(overrides, an_hour_s(clock))

    def away(**_: object) -> None:
        raise DatabaseError

    monkeypatch.setattr(ledger, "rows", away)
    await overrides.refresh()
    while_away = overrides.find(a_query())
    clock.advance(HOUR_MS / 1000)
    await overrides.refresh()

    assert while_away is not None
    assert overrides.find(a_query()) is None
    assert "cannot be read" in caplog.text


async def test_begin_and_end_are_logged_as_warnings_and_measured(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = stored(clock)
    with caplog.at_level(logging.WARNING):
        await begun(overrides, an_hour_s(clock))
        clock.advance(60)
        await overrides.refresh()
        measured = metrics.OVERRIDES_IN_FORCE._value.get(), metrics.OVERRIDES_OLDEST_AGE._value.get()
        clock.advance(HOUR_MS / 1000)
        await overrides.refresh()

    logged = [
        (each.getMessage(), each.__dict__.get("author"), each.__dict__.get("cause"))
        for each in caplog.records
    ]
    assert [("override began", "on-call", None), ("override ended", "on-call", "time")] == logged
    assert (1, 60) == measured
    assert 0 == metrics.OVERRIDES_IN_FORCE._value.get()
    assert 0 == metrics.OVERRIDES_OLDEST_AGE._value.get()


async def test_begin_and_end_stand_in_the_history_of_its_customer(clock: FakeClock) -> None:
    """By itself, and by a person; of a feature and of a balance."""
    history = EntityHistory(clock)
    overrides = stored(clock, history=history)
    await begun(overrides, an_hour_s(clock))
    clock.advance(HOUR_MS / 1000)
    await overrides.refresh()
    credits_ = an_hour_s(clock, feature_id="", currency_id="tokens", has_access=False)
    await begun(overrides, credits_)
    await asyncio.to_thread(ledger.end, credits_.id, by="boss", now_ms=clock.wall_ms)
    await overrides.refresh()

    reason = "they call every minute"
    assert [
        ("feature f", None, f"granted by on-call: {reason}"),
        ("feature f", f"granted by on-call: {reason}", "ended by its time"),
        ("currency tokens", None, f"denied by on-call: {reason}"),
        ("currency tokens", f"denied by on-call: {reason}", "ended by boss"),
    ] == [each.differences[0][1:] for each in reversed(history.of(A_KEY))]


async def test_what_ended_long_ago_is_forgotten(clock: FakeClock) -> None:
    overrides = stored(clock)
    await begun(overrides, an_hour_s(clock))
    clock.advance(ledger.KEPT_AFTER_MS / 1000 + 2 * HOUR_MS / 1000)
    await begun(overrides, an_hour_s(clock, feature_id="g"))
    clock.advance(HOUR_MS / 1000)
    await overrides.refresh()

    assert ["g"] == [each.feature_id async for each in EntitlementOverride.objects.all()]


# What is answered.


@pytest.fixture
async def overrides(clock: FakeClock) -> StoredOverrides:
    return stored(clock)


def furnished(overrides: StoredOverrides, clock: FakeClock) -> House:
    """A house whose overrides are the database's; it holds a customer without the feature."""
    house = build_house(overrides=overrides)
    house.clock = clock
    for part in (house.reader, house.response_cache, house.feed_applier):
        part._clock = clock
    overrides._changed = house.feed_applier._feed_trust.end_replies
    house.feed_applier.followed()
    memory: Any = house.store
    memory._memory.update(
        A_KEY, lambda _: a_cached_entity(an_entity(a_boolean_feature("f")), confirmed_at=clock.seconds)
    )
    return house


def ask(house: House) -> Answer:
    answer = house.reader.check_held(a_query())
    assert isinstance(answer, Answer)
    house.response_cache.remember(QUESTION, b"reply", answer)
    return answer


async def test_a_remembered_reply_ends_with_an_override_and_none_is_remembered_of_it(
    overrides: StoredOverrides, clock: FakeClock
) -> None:
    house = furnished(overrides, clock)
    granted, recalled = ask(house), [house.response_cache.recall(QUESTION)]
    await begun(overrides, an_hour_s(clock, has_access=False))
    recalled.append(house.response_cache.recall(QUESTION))
    denied = ask(house)
    recalled.append(house.response_cache.recall(QUESTION))
    clock.advance(HOUR_MS / 1000)
    recalled.append(house.response_cache.recall(QUESTION))
    over = ask(house)

    assert [True, False, False, False] == [each is not None for each in recalled]
    assert [True, False, True] == [each.decision.has_access for each in (granted, denied, over)]
    assert [Source.MEMORY, Source.OVERRIDE, Source.MEMORY] == [
        each.provenance.source for each in (granted, denied, over)
    ]
    assert house.response_cache.recall(QUESTION) is not None


async def test_a_reply_decided_before_an_override_and_remembered_after_it_does_not_stand(
    overrides: StoredOverrides, clock: FakeClock
) -> None:
    """The thread of hits decides, the loop puts the override in force, the thread remembers."""
    house = furnished(overrides, clock)
    answer = house.reader.check_held(a_query())
    assert isinstance(answer, Answer)
    await begun(overrides, an_hour_s(clock, has_access=False))
    house.response_cache.remember(QUESTION, b"reply", answer)

    assert house.response_cache.recall(QUESTION) is None


async def test_a_reply_decided_before_its_end_and_remembered_after_it_does_not_stand(
    overrides: StoredOverrides, clock: FakeClock
) -> None:
    """Nothing announces an end that comes by itself: what it decided is not kept, whenever that is."""
    house = furnished(overrides, clock)
    await begun(overrides, an_hour_s(clock, has_access=False))
    clock.advance(HOUR_MS / 1000 - 0.001)
    answer = house.reader.check_held(a_query())
    assert isinstance(answer, Answer)
    clock.advance(0.001)
    house.response_cache.remember(QUESTION, b"reply", answer)

    assert not answer.decision.has_access
    assert house.response_cache.recall(QUESTION) is None


async def test_it_answers_while_the_cloud_is_away(overrides: StoredOverrides, clock: FakeClock) -> None:
    """A customer of whom nothing is known, also where too many wait; counted, and no fallback."""
    house, key = furnished(overrides, clock), EntityKey("new")
    house.edge.answer = house.api.answer = Unreachable("api")
    await begun(overrides, an_hour_s(clock, key=key))
    counted = metrics.OVERRIDE_ANSWERS.labels("granted")
    before = counted._value.get()
    answer = await house.reader.check(a_query(key=key))
    unasked = house.reader.check_unasked(a_query(key=key))
    listed = await house.reader.list(key)
    held = house.reader.list_held(A_KEY)
    await house.fetcher.stop()

    assert [(True, False, Source.OVERRIDE)] * 2 == [
        (each.decision.has_access, each.decision.is_fallback, each.provenance.source)
        for each in (answer, unasked)
    ]
    assert ["f"] == [each.id for each in listed.decisions]
    assert Source.OVERRIDE == listed.provenance.source
    assert isinstance(held, ListAnswer)
    assert held.provenance.source is Source.MEMORY
    assert before + 2 == counted._value.get()


async def test_a_list_is_overridden_and_not_remembered(overrides: StoredOverrides, clock: FakeClock) -> None:
    house = furnished(overrides, clock)
    await begun(overrides, an_hour_s(clock, has_access=False))
    listed = house.reader.list_held(A_KEY)
    assert isinstance(listed, ListAnswer)
    house.response_cache.remember(QUESTION, b"list", listed)

    assert [False] == [each.has_access for each in listed.decisions]
    assert Source.OVERRIDE == listed.provenance.source
    assert house.response_cache.recall(QUESTION) is None


# Between pods of one Redis, each with a database of its own.


class NoDatabase(OverrideTable):
    """Of another pod, whose database is its own: here none, since the tests have but one."""

    def rows(self, _: object) -> dict[str, Override]:
        raise DatabaseError


@pytest.fixture
def redis() -> Any:
    with RedisServer() as server:
        yield server


@pytest.fixture
def shared(redis: RedisServer) -> Any:
    connection = a_connection(redis.url)
    connection.client.ping()
    yield SharedRecords(connection, name=KEYS.overrides, ttl_seconds=60)
    connection.stop()


async def test_pods_of_one_redis_share_them(
    clock: FakeClock, redis: RedisServer, shared: SharedRecords
) -> None:
    """Begin and end; a Redis that is emptied is filled again, and brings nothing back that has ended."""
    one, other = stored(clock, shared=shared), stored(clock, shared=shared, table=NoDatabase(clock))
    override = an_hour_s(clock)
    await begun(one, override)
    await other.refresh()
    learned = other.in_force()
    redis.command("FLUSHALL")
    await other.refresh()
    another = stored(clock, shared=shared, table=NoDatabase(clock))
    await another.refresh()
    refilled = another.in_force()
    await asyncio.to_thread(ledger.end, override.id, by="boss", now_ms=clock.wall_ms)
    await one.refresh()
    await other.refresh()
    redis.command("FLUSHALL")
    await another.refresh()  # which still thinks that it runs
    await one.refresh()
    await another.refresh()

    assert [override] == learned
    assert [override] == refilled
    assert [] == one.in_force() + other.in_force() + another.in_force()
    assert redis.command("TYPE", "production:sidecar:overrides").strip() in {"hash", b"hash"}


async def test_what_others_began_is_kept_in_this_database(
    clock: FakeClock, redis: RedisServer, shared: SharedRecords
) -> None:
    override = an_hour_s(clock, enum_values=("eu",))
    await shared.write({override.id: record_of(override)})
    one = stored(clock, shared=shared)
    await one.refresh()
    redis.command("FLUSHALL")
    restarted = stored(clock)
    await restarted.refresh()

    assert [override] == restarted.in_force()


async def test_of_two_that_pods_began_for_the_same_the_later_holds(
    clock: FakeClock, shared: SharedRecords
) -> None:
    """Neither knew of the other's; the earlier does not come back when the later ends."""
    early = an_hour_s(clock, lasts_ms=9 * HOUR_MS)
    late = replace(early, id="late", begins_ms=clock.wall_ms + 1, has_access=False)
    await shared.write({each.id: record_of(each) for each in (early, late)})
    one = stored(clock, shared=shared)
    await one.refresh()
    while_both = one.in_force()
    await asyncio.to_thread(ledger.end, "late", by="boss", now_ms=clock.wall_ms)
    await one.refresh()

    assert [late] == while_both
    assert [] == one.in_force()


@pytest.mark.parametrize(
    "record",
    [
        b"junk",
        b"[]",
        record_of(an_override()).replace(b'"reason": "they call every minute"', b'"reason": ""'),
        record_of(an_override(lasts_ms=8 * 24 * HOUR_MS)),
        record_of(an_override(value=1)).replace(b'"value": 1', b'"value": 1.5'),
        record_of(an_override()).replace(b'"ends"', b'"end"'),
    ],
)
async def test_junk_in_redis_is_left_out_and_hides_nothing(
    clock: FakeClock, shared: SharedRecords, record: bytes
) -> None:
    override = an_hour_s(clock)
    await shared.write({"junk": record, override.id: record_of(override)})
    one, background = stored(clock, shared=shared, poll_seconds=30), Background(clock.monotonic)
    async with one.followed(background):
        assert [override] == one.in_force()
        assert background.states["overrides"].skipped == 1
    with pytest.raises(Malformed):
        override_from("junk", record)


async def test_what_ended_a_day_ago_goes_from_redis(clock: FakeClock, shared: SharedRecords) -> None:
    override = an_hour_s(clock)
    await shared.write({override.id: record_of(override)})
    clock.advance((ledger.FOLLOWED_AFTER_MS + HOUR_MS) / 1000)
    await stored(clock, shared=shared).refresh()

    assert {} == await shared.read()


def test_what_one_knows_as_ended_has_ended() -> None:
    runs, early, late = (replace(an_override(), ended_ms=each) for each in (None, 5, 9))
    pairs: list[tuple[Override | None, Override, Override]] = [
        (None, runs, runs), (runs, runs, runs), (runs, early, early), (early, runs, early),
        (late, early, early), (early, late, early),
    ]  # fmt: skip

    assert [expected for *_, expected in pairs] == [merged(held, logged) for held, logged, _ in pairs]


def test_it_lasts_for_the_shorter_time_that_either_has_noted() -> None:
    unknown, short, long = (replace(an_override(), left_ms=each) for each in (None, 10_000, 20_000))
    pairs = [(unknown, short), (short, unknown), (short, long), (long, short)]

    assert [short] * 4 == [merged(*pair) for pair in pairs]
    assert short == override_from(short.id, record_of(short))


@pytest.mark.parametrize(("text", "expected"), [("90s", 90_000), (" 1h", HOUR_MS), ("7d", 168 * HOUR_MS)])
def test_durations_as_people_write_them(text: str, expected: int) -> None:
    assert expected == duration_ms(text)


@pytest.mark.parametrize("text", ["", "1", "h", "1.5h", "-1h", "1w", "99999999999h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration must be"):
        duration_ms(text)
