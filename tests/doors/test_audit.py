"""The audit trail: every change kept for its time, within a bound, and logged whatever happens."""

import logging
from typing import Any

import pytest
from django.db import DatabaseError

from entitlements import audit
from entitlements.models import AuditEntry
from entitlements.secret_file import MASK
from tests.fakes import FakeClock

pytestmark = pytest.mark.django_db


def changed(clock: FakeClock, subject: str = "m", **fields: Any) -> None:
    change = audit.Change("fallback.change", subject, **fields)
    reported = audit.fields_of(change, who="on-call", whence="10.0.0.7", clock=clock)
    audit.log(reported)
    audit.keep(reported, kept_days=90)


def test_a_change_is_kept_and_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    with caplog.at_level(logging.INFO):
        changed(clock, before={"limit": 1}, after={"limit": None, "values": ("a",), "x": object}, reason="r")

    entry = AuditEntry.objects.get()
    (line,) = caplog.records
    assert clock.wall_ms == entry.at_ms
    assert "fallback.change" == entry.act
    assert "m" == entry.subject
    assert "on-call" == entry.who
    assert "10.0.0.7" == entry.whence
    assert "r" == entry.reason
    assert {"limit": 1} == entry.before
    assert {"limit": None, "values": ["a"], "x": "<class 'object'>"} == entry.after
    assert "audit" == line.getMessage()
    assert "on-call" == line.__dict__["who"]
    assert "r" == line.__dict__["reason"]


def test_a_password_is_shown_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        changed(FakeClock(), before={"password": "old-hash"}, after={"password": "new-hash"})

    entry = AuditEntry.objects.get()
    assert {"password": MASK} == entry.before
    assert {"password": MASK} == entry.after
    assert "hash" not in str(caplog.records[0].__dict__)


def test_what_is_older_than_its_time_goes() -> None:
    clock = FakeClock()
    changed(clock, "old")
    clock.advance(90 * 86_400 + 1)
    changed(clock, "new")

    assert ["new"] == list(AuditEntry.objects.values_list("subject", flat=True))


def test_no_more_are_kept_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_ENTRIES", 2)
    for subject in "abc":
        changed(FakeClock(), subject)

    assert ["b", "c"] == list(AuditEntry.objects.order_by("pk").values_list("subject", flat=True))


def test_a_database_that_is_away_keeps_nobody_from_acting(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is there all the same."""

    def away(**_: object) -> None:
        raise DatabaseError

    monkeypatch.setattr(AuditEntry.objects, "create", away)
    with caplog.at_level(logging.INFO):
        changed(FakeClock())

    assert ["audit", "the audit trail cannot be written"] == [each.getMessage() for each in caplog.records]
