"""A reply that was given once and stands until something changes: the same question is not decided again."""

from dataclasses import dataclass
from typing import TypeAlias

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.freshness import Trust

ResponseKey: TypeAlias = tuple[str, bytes]
"""The method's path and the request as it came: the same bytes to the same method ask the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedResponse:
    """The bytes that answered a question, what they were decided from, and until when they stand."""

    message: bytes
    cached: CachedEntity
    """Another one held under its key ends the reply."""
    trust: Trust
    """Another one in force (the feed was lost, found, doubted) ends it too."""
    fresh_until: float
    """Monotonic seconds: past it the entity is suspect."""
    from_ms: int
    """The wall clock when it was decided: a clock that is set back past it ends the reply."""
    until_ms: int | None
    """The wall clock's next boundary (a period's end, a valid-until); None without one."""

    def stands(self, trust: Trust, now: float, now_ms: int) -> bool:
        """True while deciding again would come to the same; the holder of `cached` is asked elsewhere."""
        return (
            trust is self.trust
            and now <= self.fresh_until
            and self.from_ms <= now_ms
            and (self.until_ms is None or now_ms < self.until_ms)
        )
