"""One row of the database that is no fallback hides no other, and keeps nothing from starting."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, OperationalError, connection
from django.utils import timezone

from entitlements import metrics
from entitlements.background import Background
from entitlements.domain.fallback import FallbackOrigin, FallbackValue
from entitlements.fallback_versions import DELETED_FOR_MS, FallbackTable, RuleVersion
from entitlements.fallbacks import StoredRules
from entitlements.json_fields import Malformed
from entitlements.models import DeletedFallbackRule, FallbackRule
from entitlements.redis.shared_records import SharedRecords
from tests.eventually import eventually
from tests.fakes import FakeClock
from tests.redis.parts import KEYS, a_connection
from tests.redis_server import RedisServer

GRANTED = FallbackValue(has_access=True)
# What somebody, or another program, may have written past our forms.
UNREADABLE: dict[str, tuple[str, str | int]] = {
    "enum_values is a number": ("enum_values", "5"),
    "enum_values is a text": ("enum_values", '"basic"'),
    "enum_values holds a number": ("enum_values", '["basic", 1]'),
    "enum_values is more than Python reads": ("enum_values", 5000 * "9"),
    "usage_limit is a text": ("usage_limit", "many"),
    "value is too large": ("value", 2**40),
}


def _spoil(column: str, value: str | int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE entitlements_fallbackrule SET {column} = %s WHERE feature_id = 'bad'",  # noqa: S608
            [value],
        )


async def _written(work: Callable[[], Awaitable[object]]) -> None:
    """Tables in memory cannot be written while they are read, and nobody waits there, as for a file."""
    while True:
        try:
            await work()
        except OperationalError:
            await asyncio.sleep(0)
        else:
            return


def _rules() -> StoredRules:
    return StoredRules({"bad": FallbackValue(has_access=False)}, clock=FakeClock(), poll_seconds=0.01)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("case", UNREADABLE)
async def test_a_row_that_is_no_fallback_is_left_out_and_named(case: str) -> None:
    """The environment answers for its feature, as if the row were not there."""
    await FallbackRule.objects.acreate(feature_id="bad", has_access=True)
    await FallbackRule.objects.acreate(feature_id="good", has_access=True)
    column, value = UNREADABLE[case]
    await sync_to_async(_spoil)(column, value)
    skipped: list[tuple[str, str]] = []
    await sync_to_async(FallbackTable(FakeClock()).rows)(lambda *pushed: skipped.append(pushed))
    rules = _rules()
    await rules.refresh()

    assert {"bad": FallbackValue(has_access=False), "good": GRANTED} == rules.current()
    assert [("bad", f"{column} cannot be used")] == skipped
    assert rules.origin_of("bad") is FallbackOrigin.ENVIRONMENT


@pytest.mark.django_db(transaction=True)
async def test_rules_are_followed_past_a_row_that_is_no_fallback() -> None:
    """It is there at the start already, and in force once it is fixed; others do not wait for that."""
    rows = FallbackRule.objects
    await rows.acreate(feature_id="bad", has_access=True, enum_values=5)
    rules, background = _rules(), Background(FakeClock().monotonic)
    async with rules.followed(background):
        await _written(lambda: rows.acreate(feature_id="good", has_access=True))
        await eventually(lambda: "good" in rules.current())
        assert background.states["fallback-rules"].skipped >= 1
        assert background.states["fallback-rules"].failures == 0

        await _written(lambda: rows.filter(feature_id="bad").aupdate(enum_values=["basic"]))
        await eventually(lambda: rules.origin_of("bad") is FallbackOrigin.DATABASE)

    assert FallbackValue(has_access=True, enum_values=("basic",)) == rules.current()["bad"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("broken", "fixed"),
    [
        ("ALTER TABLE {table} RENAME TO gone", "ALTER TABLE gone RENAME TO {table}"),
        (
            "ALTER TABLE {table} RENAME COLUMN feature_id TO gone",
            "ALTER TABLE {table} RENAME COLUMN gone TO feature_id",
        ),
    ],
)
async def test_rules_stay_while_the_database_cannot_be_read(broken: str, fixed: str) -> None:
    """They are as they were last read; and they are read again when it can be."""
    await FallbackRule.objects.acreate(feature_id="good", has_access=True)
    table = FallbackRule._meta.db_table
    rules = _rules()
    await rules.refresh()
    errors = metrics.DATABASE_ERRORS._value.get()

    await _execute(broken.format(table=table))
    await rules.refresh()
    was_readable = rules.is_readable
    assert rules.current()["good"] == GRANTED
    assert metrics.DATABASE_ERRORS._value.get() == errors + 1

    await _execute(fixed.format(table=table))
    await FallbackRule.objects.all().adelete()
    await rules.refresh()
    assert not was_readable
    assert rules.is_readable
    assert "good" not in rules.current()


@sync_to_async
def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


# Between pods of one Redis, each with a database of its own.


class NoDatabase(FallbackTable):
    """Of another pod: the tests have but one database."""

    def rows(self, _: object) -> dict[str, RuleVersion]:
        raise DatabaseError


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def shared(redis: RedisServer) -> Iterator[list[SharedRecords]]:
    """As three processes have it."""
    connections = [a_connection(redis.url) for _ in range(3)]
    for each in connections:
        each.client.ping()
    yield [SharedRecords(each, name=KEYS.fallback_rules, ttl_seconds=60) for each in connections]
    for each in connections:
        each.stop()


def _clock() -> FakeClock:
    clock = FakeClock()
    clock.wall_ms = int(timezone.now().timestamp() * 1000)
    return clock


def _pod(shared: SharedRecords) -> StoredRules:
    return StoredRules({}, clock=_clock(), shared=shared)


def _other_pod(shared: SharedRecords) -> StoredRules:
    return StoredRules({}, clock=_clock(), shared=shared, table=NoDatabase(_clock()))


async def _granted(*pods: StoredRules) -> list[bool | None]:
    """What each answers for f, one after the other having looked."""
    found = []
    for pod in pods:
        await pod.refresh()
        value = pod.current().get("f")
        found.append(None if value is None else value.has_access)
    return found


async def _set(**fields: bool) -> None:
    await FallbackRule.objects.aupdate_or_create(feature_id="f", defaults=fields)


@pytest.mark.django_db(transaction=True)
async def test_pods_of_one_redis_share_what_is_set_changed_renamed_and_deleted(
    shared: list[SharedRecords],
) -> None:
    """A Redis that is emptied is filled again by whoever knows; nothing that was deleted comes back."""
    one, other = _pod(shared[0]), _other_pod(shared[1])
    await _set(has_access=True)
    seen = [await _granted(one, other)]
    await _set(has_access=False)
    seen.append(await _granted(one, other))
    await _set(is_active=False)
    seen.append(await _granted(one, other))
    await _set(is_active=True, has_access=True)
    await sync_to_async(shared[2]._connection.client.flushall)()
    seen.append(await _granted(one, other))
    rule = await FallbackRule.objects.aget()
    rule.feature_id = "g"
    await rule.asave()
    seen.append(await _granted(one, other))
    await FallbackRule.objects.all().adelete()
    await _granted(one, other)

    assert [[True] * 2, [False] * 2, [None] * 2, [True] * 2, [None] * 2] == seen
    assert {} == one.current()
    assert {} == other.current()


@pytest.mark.django_db(transaction=True)
async def test_what_another_pod_set_is_kept_here_and_outlives_redis(
    redis: RedisServer, shared: list[SharedRecords]
) -> None:
    """Also over a restart, and it is what a command exports."""
    version = RuleVersion(feature_id="f", changed_us=_clock().wall_ms * 1000, is_active=True, value=GRANTED)
    await shared[1].write({"f": FallbackTable(_clock()).encoded(version)})
    pod = _pod(shared[0])
    seen = await _granted(pod)
    redis.stop()
    seen += await _granted(pod, _pod(shared[2]))

    assert [True] * 3 == seen
    assert ["f"] == [each.feature_id async for each in FallbackRule.objects.filter(is_active=True)]


@pytest.mark.django_db(transaction=True)
async def test_the_later_change_holds_whichever_clock_is_ahead(shared: list[SharedRecords]) -> None:
    """A pod an hour ahead grants; here it is denied after that, which is the later change."""
    ahead_us = (_clock().wall_ms + 3_600_000) * 1000
    version = RuleVersion(feature_id="f", changed_us=ahead_us, is_active=True, value=GRANTED)
    await shared[1].write({"f": FallbackTable(_clock()).encoded(version)})
    one, other = _pod(shared[0]), _other_pod(shared[1])
    seen = [await _granted(one, other)]
    await _set(has_access=False)
    seen.append(await _granted(one, other))
    await FallbackRule.objects.all().adelete()
    seen.append(await _granted(one, other))
    await FallbackRule.objects.acreate(feature_id="f", has_access=True)
    seen.append(await _granted(one, other))

    assert [[True] * 2, [False] * 2, [None] * 2, [True] * 2] == seen


@pytest.mark.django_db(transaction=True)
async def test_a_change_of_two_pods_at_once_comes_to_the_same_in_both(shared: list[SharedRecords]) -> None:
    at_us = _clock().wall_ms * 1000
    table = FallbackTable(_clock())
    grants, denies = (
        RuleVersion(feature_id="f", changed_us=at_us, is_active=True, value=each)
        for each in (GRANTED, FallbackValue())
    )

    assert table.merged(grants, denies) == table.merged(denies, grants)


@pytest.mark.django_db(transaction=True)
async def test_what_a_person_changed_here_meanwhile_is_not_overwritten(shared: list[SharedRecords]) -> None:
    """Between the look at the database and the writing of what others sent."""
    table, at_us = FallbackTable(_clock()), (_clock().wall_ms - 60_000) * 1000
    await _set(has_access=False)
    older = RuleVersion(feature_id="f", changed_us=at_us, is_active=True, value=GRANTED)
    await sync_to_async(table.take_over)([older, replace(older, value=None, is_active=False)])

    assert [False] == [each.has_access async for each in FallbackRule.objects.all()]


@pytest.mark.django_db(transaction=True)
async def test_a_deletion_is_reported_for_its_time(shared: list[SharedRecords]) -> None:
    """And then forgotten, in Redis and in the database."""
    await DeletedFallbackRule.objects.acreate(feature_id="g", at=timezone.now())
    await _granted(_pod(shared[0]))
    assert ["g"] == list(await shared[1].read() or ())
    later = _clock()
    later.wall_ms += DELETED_FOR_MS + 1000
    await StoredRules({}, clock=later, shared=shared[0]).refresh()
    await sync_to_async(FallbackTable(later).take_over)([])

    assert {} == await shared[1].read()
    assert not await DeletedFallbackRule.objects.aexists()


NOW_US = int(timezone.now().timestamp() * 1_000_000)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("id_", "pushed"),
    [
        ("junk", b"junk"),
        ("junk", b"[]"),
        ("junk", b'{"active": true, "rule": {"hasAccess": true}}'),
        ("junk", b'{"changed": 1e30, "active": true, "rule": {"hasAccess": true}}'),
        ("junk", b'{"changed": 1, "active": true, "rule": {"hasAccess": 1}}'),
        ("junk", b'{"changed": 1, "active": true, "rule": []}'),
        ("j" * 256, b'{"changed": 1, "active": true, "rule": {"hasAccess": true}}'),
    ],
)
async def test_junk_in_redis_is_left_out_and_hides_nothing(
    shared: list[SharedRecords], id_: str, pushed: bytes
) -> None:
    good = RuleVersion(feature_id="f", changed_us=NOW_US, is_active=True, value=GRANTED)
    await shared[1].write({id_: pushed, "f": FallbackTable(_clock()).encoded(good)})
    pod, background = _pod(shared[0]), Background(FakeClock().monotonic)
    pod._table._poll_seconds = 30
    async with pod.followed(background):
        assert ["f"] == list(pod.current())
        assert background.states["fallback-rules"].skipped == 1
    with pytest.raises(Malformed):
        FallbackTable(_clock()).decoded(id_, pushed)


async def test_a_rule_is_reported_as_it_is() -> None:
    value = FallbackValue(has_access=True, usage_limit=5, enum_values=("a",), max_stale_seconds=60)
    table = FallbackTable(_clock())
    versions = [
        RuleVersion(feature_id="f", changed_us=NOW_US, is_active=True, value=value),
        RuleVersion(feature_id="f", changed_us=NOW_US, is_active=False, value=value),
        RuleVersion(feature_id="f", changed_us=NOW_US),
    ]

    assert versions == [table.decoded("f", table.encoded(each)) for each in versions]


@pytest.mark.django_db
def test_a_version_is_later_than_the_one_before_whatever_the_clock_says() -> None:
    rule = FallbackRule.objects.create(feature_id="f")
    ahead = timezone.now() + timedelta(hours=1)
    FallbackRule.objects.update(updated_at=ahead)
    rule.save()
    rule.refresh_from_db()

    assert rule.updated_at > ahead
