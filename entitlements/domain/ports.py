"""What the use cases ask of others."""

import enum
from collections.abc import Mapping, Sequence
from typing import Protocol

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.usage import UsageEvent, UsageReceipt, UsageReport


class Clock(Protocol):
    """The time, twice: for people and for durations."""

    def now_ms(self) -> int:
        """The wall clock, epoch milliseconds UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump."""
        ...


class Source(enum.Enum):
    """Where an answer's data came from; the value is what callers and metrics see."""

    MEMORY = "memory"
    REDIS = "redis"
    EDGE = "edge"
    API = "api"
    FALLBACK = "fallback"
    OFFLINE = "offline"


class EntityStore(Protocol):
    """The tiers as one: what is known here, newest timestamp wins (contract/redis.md, Rules)."""

    def peek(self, key: EntityKey) -> CachedEntity | None:
        """What this process's memory holds, at once and from any thread."""
        ...

    async def find(self, key: EntityKey) -> tuple[CachedEntity, Source] | None:
        """What any tier holds, and which one; slower tiers fill the faster ones."""
        ...

    async def store(self, key: EntityKey, arrived: CachedEntity) -> CachedEntity:
        """Merges what arrived into what is held and returns what is held from now on."""
        ...

    async def apply_usage(self, key: EntityKey, update: UsageUpdate) -> bool:
        """Moves one meter of a held entity; False when it is not held or knows a newer state."""
        ...

    async def mark_recheck_failed(self, key: EntityKey, *, at: float) -> None:
        """Notes that the cloud did not answer a re-check of a held entity at that moment."""
        ...

    async def drop(self, key: EntityKey) -> None:
        """Forgets an entity."""
        ...

    def resources_of(self, customer_id: str) -> Sequence[EntityKey]:
        """The resources of a customer that this process's memory holds."""
        ...


class EntitySource(Protocol):
    """A place that knows the current state of every entity: the Edge, the API."""

    @property
    def source(self) -> Source:
        """Which one."""
        ...

    async def fetch(self, key: EntityKey, *, budget_seconds: float) -> Entity:
        """The entity's current state.

        Raises:
            UpstreamError: it could not be had within the budget.
        """
        ...


class ReportSink(Protocol):
    """Where usage and events are reported to."""

    async def report_usage(self, report: UsageReport, *, budget_seconds: float) -> UsageReceipt:
        """Reports one usage; its idempotency key makes our own retries safe.

        Raises:
            UpstreamError: it was rejected, or it is not known to have arrived.
        """
        ...

    async def report_usage_bulk(
        self, reports: Sequence[UsageReport], *, budget_seconds: float
    ) -> Sequence[UsageReceipt]:
        """Reports at most 100 usages in one call; raises as `report_usage`."""
        ...

    async def report_events(self, events: Sequence[UsageEvent], *, budget_seconds: float) -> None:
        """Reports at most 1,000 events in one call; raises as `report_usage`."""
        ...


class FallbackRules(Protocol):
    """The configured fallbacks in force."""

    def current(self) -> Mapping[str, FallbackValue]:
        """By feature id; a snapshot that is never changed in place."""
        ...


class FeedListener(Protocol):
    """Who is told what the feed does; called from the feed's own task, in order."""

    async def followed(self) -> None:
        """All subscriptions are in force: from now on every change is delivered."""
        ...

    async def lost(self, cause: str) -> None:
        """Changes are missed from now on; `cause` is one of a bounded set of short words."""
        ...

    async def delivered(self, subscription: str, frame: str) -> None:
        """One `next` frame of a subscription, as it came."""
        ...
