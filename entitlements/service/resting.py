"""Which entities rest: the cloud failed to answer about them just now, and is not asked again at once."""

from collections.abc import Callable
from dataclasses import dataclass

from entitlements import metrics
from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import UpstreamError

REST_SECONDS = 2.0
"""An entity whose fetch failed is left alone for so long (contract/upstream.md, Whose fault it is)."""
MAX_RESTING = 10_000
"""How many rest at a time; past it the one that has rested longest may be asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rest:
    until: float
    error: UpstreamError


class RestingEntities:
    """Keeps one customer's trouble from being asked about again and again; others are not touched by it."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._rests: dict[EntityKey, _Rest] = {}

    def count(self) -> int:
        """How many rest."""
        now = self._monotonic()
        for key in [key for key, rest in self._rests.items() if rest.until <= now]:
            del self._rests[key]
        metrics.ENTITIES_RESTING.set(len(self._rests))
        return len(self._rests)

    def error_of(self, key: EntityKey) -> UpstreamError | None:
        """Why an entity rests; None when it may be asked about."""
        rest = self._rests.get(key)
        if rest is None or rest.until <= self._monotonic():
            return None
        return rest.error

    def rest(self, key: EntityKey, error: UpstreamError) -> None:
        """Has it rest from now on."""
        self._rests.pop(key, None)
        self._rests[key] = _Rest(until=self._monotonic() + REST_SECONDS, error=error)
        while len(self._rests) > MAX_RESTING:
            del self._rests[next(iter(self._rests))]
        metrics.ENTITIES_RESTING.set(len(self._rests))

    def wake(self, key: EntityKey) -> None:
        """Something is known of it again: it may be asked about."""
        if self._rests.pop(key, None) is not None:
            metrics.ENTITIES_RESTING.set(len(self._rests))
