"""One row of the database that is no fallback hides no other, and keeps nothing from starting."""

import asyncio

import pytest
from django.db import connection

from entitlements import metrics
from entitlements.background import Background
from entitlements.domain.fallback import FallbackOrigin, FallbackValue
from entitlements.fallbacks import StoredRules
from entitlements.models import FallbackRule
from tests.fakes import FakeClock

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


def _rules() -> StoredRules:
    return StoredRules({"bad": FallbackValue(has_access=False)}, clock=FakeClock(), poll_seconds=0.01)


@pytest.mark.django_db
@pytest.mark.parametrize("case", UNREADABLE)
def test_a_row_that_is_no_fallback_is_left_out_and_named(case: str) -> None:
    """The environment answers for its feature, as if the row were not there."""
    FallbackRule.objects.create(feature_id="bad", has_access=True)
    FallbackRule.objects.create(feature_id="good", has_access=True)
    column, value = UNREADABLE[case]
    _spoil(column, value)
    skipped: list[tuple[str, str]] = []
    rules = _rules()
    rules.read(lambda *told: skipped.append(told))

    assert {"bad": FallbackValue(has_access=False), "good": GRANTED} == rules.current()
    assert [("bad", f"{column} cannot be used")] == skipped
    assert rules.origin_of("bad") is FallbackOrigin.ENVIRONMENT


@pytest.mark.django_db(transaction=True)
async def test_rules_are_followed_past_a_row_that_is_no_fallback() -> None:
    """It is there at the start already, and in force once it is fixed; others do not wait for that."""
    rows = FallbackRule.objects
    await rows.acreate(feature_id="bad", has_access=True, enum_values=5)
    rules, background = _rules(), Background(FakeClock().monotonic)
    async with rules.followed(background), asyncio.timeout(10):
        await rows.acreate(feature_id="good", has_access=True)
        while "good" not in rules.current():  # noqa: ASYNC110 - a state
            await asyncio.sleep(0.01)
        assert background.states["fallback-rules"].skipped >= 1
        assert background.states["fallback-rules"].failures == 0

        await rows.filter(feature_id="bad").aupdate(enum_values=["basic"])
        while rules.origin_of("bad") is not FallbackOrigin.DATABASE:  # noqa: ASYNC110 - a state
            await asyncio.sleep(0.01)

    assert FallbackValue(has_access=True, enum_values=("basic",)) == rules.current()["bad"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("ALTER TABLE {table} RENAME TO gone", "ALTER TABLE gone RENAME TO {table}"),
        (
            "ALTER TABLE {table} RENAME COLUMN feature_id TO gone",
            "ALTER TABLE {table} RENAME COLUMN gone TO feature_id",
        ),
    ],
)
def test_rules_stay_while_the_database_cannot_be_read(broken: str, mended: str) -> None:
    """They are as they were last read; and they are read again when it can be."""
    FallbackRule.objects.create(feature_id="good", has_access=True)
    table = FallbackRule._meta.db_table
    rules = _rules()
    rules.read(_never)
    errors = metrics.DATABASE_ERRORS._value.get()

    _execute(broken.format(table=table))
    rules.read(_never)
    was_readable = rules.is_readable
    assert rules.current()["good"] == GRANTED
    assert metrics.DATABASE_ERRORS._value.get() == errors + 1

    _execute(mended.format(table=table))
    FallbackRule.objects.all().delete()
    rules.read(_never)
    assert not was_readable
    assert rules.is_readable
    assert "good" not in rules.current()


def _never(feature_id: str, problem: str) -> None:
    pytest.fail(f"{feature_id}: {problem}")


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
