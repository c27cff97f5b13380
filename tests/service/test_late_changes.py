"""Changes of entities that nobody held, kept until another process has written them."""

from entitlements.domain.entity import EntityKey, UsageUpdate
from entitlements.service import late_changes
from entitlements.service.late_changes import KEPT_SECONDS, MAX_METERS, LateChanges
from tests.fakes import FakeClock

KEY = EntityKey("a")


def _usage(current: float, *, at_ms: int, feature_id: str = "m") -> UsageUpdate:
    return UsageUpdate(feature_id=feature_id, current=current, updated_at_ms=at_ms)


def test_the_newest_usage_of_each_meter_is_kept_once() -> None:
    late = LateChanges(FakeClock().monotonic)
    for each in (_usage(2, at_ms=2), _usage(1, at_ms=1), _usage(5, at_ms=1, feature_id="n")):
        late.note_usage(KEY, each)

    first, second = late.pop(KEY), late.pop(KEY)

    assert (_usage(2, at_ms=2), _usage(5, at_ms=1, feature_id="n")) == first.usages
    assert () == second.usages
    assert not first.was_dropped
    assert not second.was_dropped


def test_they_are_forgotten_after_a_while() -> None:
    clock = FakeClock()
    late = LateChanges(clock.monotonic)
    late.note_drop(KEY)
    was_kept = KEY in late
    clock.advance(KEPT_SECONDS + 0.1)

    assert not late.pop(KEY).was_dropped
    late.note_drop(KEY)
    clock.advance(KEPT_SECONDS + 0.1)
    late.note_drop(EntityKey("b"))
    assert was_kept
    assert KEY not in late


def test_they_are_bounded() -> None:
    late = LateChanges(FakeClock().monotonic)
    late.note_drop(KEY)
    for number in range(late_changes.MAX_ENTITIES):
        late.note_drop(EntityKey(f"other-{number}"))

    assert KEY not in late
    assert EntityKey("other-0") in late


def test_meters_of_one_entity_are_bounded() -> None:
    late = LateChanges(FakeClock().monotonic)
    for number in range(MAX_METERS + 1):
        late.note_usage(KEY, _usage(1, at_ms=1, feature_id=str(number)))

    assert MAX_METERS == len(late.pop(KEY).usages)
