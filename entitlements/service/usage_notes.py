"""Usage that arrived for entities that are not held yet, until they are."""

from collections.abc import Iterable

from entitlements.domain.entity import EntityKey, UsageUpdate

MAX_ENTITIES = 10_000
"""Number of entities with notes; the oldest are given up first."""
MAX_METERS = 1_000
"""And of meters of each."""


class UsageNotes:
    """Keeps a fetch from showing older usage than a report that was answered before it."""

    def __init__(self) -> None:
        self._notes: dict[EntityKey, dict[tuple[str | None, str | None], UsageUpdate]] = {}

    def note(self, key: EntityKey, update: UsageUpdate) -> None:
        """Keeps the newest update of this meter."""
        meters = self._notes.setdefault(key, {})
        meter = update.feature_id, update.currency_id  # a feature and a currency may share a name
        known = meters.get(meter)
        if known is None or known.updated_at_ms <= update.updated_at_ms:
            meters[meter] = update
        while len(meters) > MAX_METERS:
            del meters[next(iter(meters))]
        while len(self._notes) > MAX_ENTITIES:
            del self._notes[next(iter(self._notes))]

    def take(self, key: EntityKey) -> Iterable[UsageUpdate]:
        """The updates of an entity that is held from now on."""
        return self._notes.pop(key, {}).values()
