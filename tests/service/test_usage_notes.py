"""Notes of usage of entities that are not held."""

import pytest

from entitlements.domain.entity import EntityKey, UsageUpdate
from entitlements.service import usage_notes
from entitlements.service.usage_notes import UsageNotes

KEY = EntityKey("customer-1")


def _update(current: float, updated_at_ms: int, **reference: str) -> UsageUpdate:
    return UsageUpdate(current=current, updated_at_ms=updated_at_ms, **(reference or {"feature_id": "f"}))  # type: ignore[arg-type]


def test_newest_update_of_each_meter_is_kept() -> None:
    """One note a meter; an older one does not replace it."""
    notes = UsageNotes()
    for update in (_update(1, 1), _update(3, 3), _update(2, 2), _update(7, 1, currency_id="c")):
        notes.note(KEY, update)

    assert [_update(3, 3), _update(7, 1, currency_id="c")] == list(notes.take(KEY))


def test_notes_are_taken_once() -> None:
    """Once the entity is held, they are part of it."""
    notes = UsageNotes()
    notes.note(KEY, _update(1, 1))

    notes.take(KEY)

    assert [] == list(notes.take(KEY))


def test_notes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest entity's notes are given up first."""
    monkeypatch.setattr(usage_notes, "MAX_ENTITIES", 2)
    notes = UsageNotes()
    for number in range(3):
        notes.note(EntityKey(f"customer-{number}"), _update(1, 1))

    assert [0, 1, 1] == [len(list(notes.take(EntityKey(f"customer-{number}")))) for number in range(3)]
