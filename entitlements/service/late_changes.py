"""Changes of entities that nobody held: another process may be fetching one, and write what it asked before.

Who follows the feed for all keeps them until that process has written the entity, and changes it then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from entitlements.domain.entity import EntityKey, UsageUpdate

KEPT_SECONDS = 15.0
"""A fetch, with its wait for a turn, is over before."""
MAX_ENTITIES = 10_000
"""The oldest are given up first: they are re-checked as all else is that was missed."""
MAX_METERS = 100
"""Of each; the oldest are given up first."""


@dataclass(slots=True)
class Late:
    """What is to be done to one entity."""

    until: float
    was_dropped: bool = False
    meters: dict[tuple[str | None, str | None], UsageUpdate] = field(default_factory=dict)

    @property
    def usages(self) -> Sequence[UsageUpdate]:
        """The newest of each meter."""
        return tuple(self.meters.values())


class LateChanges:
    """But for `in`, which any thread may ask, one event loop's."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._late: dict[EntityKey, Late] = {}
        """Those whose time is over first."""

    def __contains__(self, key: object) -> bool:
        return key in self._late

    def note_drop(self, key: EntityKey) -> None:
        """The entity was removed."""
        self._late_of(key).was_dropped = True

    def note_usage(self, key: EntityKey, update: UsageUpdate) -> None:
        """A meter of it moved."""
        meters = self._late_of(key).meters
        meter = update.feature_id, update.currency_id  # a feature and a currency may share a name
        known = meters.get(meter)
        if known is None or known.updated_at_ms <= update.updated_at_ms:
            meters[meter] = update
        if len(meters) > MAX_METERS:
            del meters[next(iter(meters))]

    def pop(self, key: EntityKey) -> Late:
        """What is to be done, which is forgotten."""
        now = self._monotonic()
        late = self._late.pop(key, None)
        return Late(until=now) if late is None or late.until < now else late

    def _late_of(self, key: EntityKey) -> Late:
        now = self._monotonic()
        late = self._late.pop(key, None) or Late(until=now)
        late.until = now + KEPT_SECONDS
        self._late[key] = late
        while len(self._late) > MAX_ENTITIES or self._late[next(iter(self._late))].until < now:
            del self._late[next(iter(self._late))]
        return late
