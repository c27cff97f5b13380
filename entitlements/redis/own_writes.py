"""What this process itself writes to Redis, so that it does not take its own changes for another's."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from entitlements.domain.entity import EntityKey

NAMED_SECONDS = 2.0
"""Redis names a change in the moment that it answers the write; a name that comes later is another's."""


@dataclass(slots=True)
class _Writes:
    """Of one entity."""

    under_way: int = 0
    named_early: int = 0
    """How many of those under way were named before their answer was here."""
    unnamed: int = 0
    """How many were answered and are not named yet."""
    until: float = inf


class OwnWrites:
    """Writes that Redis has not named yet; but for `in`, which any thread may ask, one event loop's.

    The story of a name. Redis names at the end of a turn of its loop what was changed in it: once, however
    often that was. The name and the answer to the write come by two connections, in any order.

    1. A write begins, is answered, and is named: all that was answered before is known to be ours.
    2. It is named before its answer is here: one of those under way is ours. Was it another's, then ours is
       named once more, is taken for another's, and the entity is looked at: once too often, never too seldom.
    3. Another's write and ours in one turn of Redis' loop are one name, taken for ours, as NOLOOP does. The
       newer of the two stands in Redis; the cloud tells of it as well, and the next name shows it.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._writes: dict[EntityKey, _Writes] = {}
        """Those whose time is over first."""

    def __contains__(self, key: object) -> bool:
        return key in self._writes

    def begun(self, key: EntityKey) -> None:
        """A write of this entity is sent."""
        self._forget_old()
        self._writes.setdefault(key, _Writes()).under_way += 1

    def ended(self, key: EntityKey, *, has_changed: bool) -> bool:
        """It was answered; `has_changed` False: Redis has nothing to name, or may not have done it.

        Returns:
            True where a name was taken for this write that was another's.
        """
        writes = self._writes.pop(key)
        writes.under_way -= 1
        is_mistaken = not has_changed and writes.named_early > writes.under_way
        if writes.named_early and (has_changed or is_mistaken):
            writes.named_early -= 1
        elif has_changed:
            writes.unnamed += 1
        if not writes.under_way:
            writes.until = self._monotonic() + NAMED_SECONDS
        if writes.under_way or writes.unnamed:
            self._writes[key] = writes
        return is_mistaken

    def has_named(self, key: EntityKey) -> bool:
        """Redis named it: True where that was a write of ours."""
        writes = self._writes.get(key)
        if writes is None or writes.until < self._monotonic():
            return False
        if writes.unnamed:
            writes.unnamed = 0
        elif writes.named_early < writes.under_way:
            writes.named_early += 1
        else:
            return False
        if not writes.under_way:
            del self._writes[key]
        return True

    def _forget_old(self) -> None:
        now = self._monotonic()
        while self._writes:
            first = next(iter(self._writes))
            if self._writes[first].until >= now:
                return
            del self._writes[first]
