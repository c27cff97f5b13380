"""What the use cases ask of others."""

import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.cached_response import CachedResponse, ResponseKey
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate
from entitlements.domain.entity_history import Origin
from entitlements.domain.fallback import FallbackOrigin, FallbackValue
from entitlements.domain.freshness import Trust
from entitlements.domain.usage import UsageEvent, UsageReceipt, UsageReport


class Clock(Protocol):
    """The time, twice: for people and for durations."""

    def now_ms(self) -> int:
        """The wall clock, epoch milliseconds UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump."""
        ...

    def both(self) -> tuple[float, int]:
        """`monotonic` and `now_ms` of one moment."""
        ...


class Processor(Protocol):
    """How much processor time the threads have used that share the interpreter."""

    def hits_seconds(self) -> float:
        """By the thread that answers hits; 0 where the system does not say."""
        ...

    def loop_seconds(self) -> float:
        """By the event loop's thread, which is the one to ask."""
        ...


class Source(enum.Enum):
    """Where an answer's data came from; the value is what callers and metrics see."""

    MEMORY = "memory"
    REDIS = "redis"
    EDGE = "edge"
    API = "api"
    FALLBACK = "fallback"
    OFFLINE = "offline"
    OVERRIDE = "override"
    """A person had it answered so, whatever the cloud says."""
    SNAPSHOT = "snapshot"
    """Written before a restart, after which neither Redis nor the cloud could be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What is known of an entity, and who knew it."""

    key: EntityKey
    cached: CachedEntity
    source: Source


class EntityStore(Protocol):
    """The tiers as one: what is known here, the latest knowledge wins (contract/upstream.md)."""

    def get(self, key: EntityKey) -> CachedEntity | None:
        """What this process's memory holds, at once and from any thread."""
        ...

    async def find(self, key: EntityKey) -> Lookup | None:
        """What any tier holds, and which one; slower tiers fill the faster ones."""
        ...

    async def find_shared(self, key: EntityKey, claim: "FetchClaim | None" = None) -> CachedEntity | None:
        """What other processes have shared, merged into memory; else the claim may have been made."""
        ...

    async def store(
        self,
        key: EntityKey,
        arrived: CachedEntity,
        *,
        answered_at_ms: int | None = None,
        claim: "FetchClaim | None" = None,
        origin: Origin = Origin.FETCH,
    ) -> CachedEntity:
        """Merges what arrived into what is held and returns what is held from now on.

        Args:
            key: whose entitlements.
            arrived: what came, and when it was asked for or sent.
            answered_at_ms: when the cloud answered, where it was asked (`merge`).
            claim: this process's turn at it, which is given back along with it where that can be.
            origin: whence it came, for the history.
        """
        ...

    async def apply_usage(
        self,
        key: EntityKey,
        update: UsageUpdate,
        *,
        only_here: bool = False,
        origin: Origin = Origin.FEED,
    ) -> bool:
        """Moves one meter of a held entity; False when it is not held or knows a newer state.

        Args:
            key: whose entitlements.
            update: what it is now.
            only_here: in this process alone: it is an estimate, and no knowledge for others.
            origin: whence it came, for the history.
        """
        ...

    async def mark_recheck_failed(self, key: EntityKey, *, at: float) -> None:
        """Notes that the cloud did not answer a re-check of a held entity at that moment."""
        ...

    async def drop(self, key: EntityKey, *, origin: Origin = Origin.FEED) -> None:
        """Forgets an entity."""
        ...

    def resources_of(self, customer_id: str) -> Sequence[EntityKey]:
        """The resources of a customer that this process's memory holds."""
        ...


class ChangeListener(Protocol):
    """Notified when what is held of an entity is another than before; called on the loop."""

    def is_watched(self, customer_id: str) -> bool:
        """False where nobody would care."""
        ...

    def changed(self, key: EntityKey) -> None:
        """This entity did."""
        ...


class ResponseStore(Protocol):
    """Standing replies beside the entities that they were decided from; bounded, and safe from any thread."""

    def recall(self, question: ResponseKey) -> CachedResponse | None:
        """The reply to this question, while memory holds what it was decided from; the read is marked."""
        ...

    def is_asked_again(self, key: EntityKey, question: ResponseKey) -> bool:
        """True when this was probably asked of the entity before; notes that it was."""
        ...

    def remember(self, key: EntityKey, question: ResponseKey, reply: CachedResponse) -> None:
        """Keeps a reply for as long as the entity it was decided from is held, if its bounds allow."""
        ...


class FetchLockOutcome(enum.Enum):
    """What a process that misses an entity does next."""

    ACQUIRED = "acquired"
    """Fetch, store, and say `done`: the others wait for it."""
    UNCOORDINATED = "uncoordinated"
    """Fetch: the others cannot be asked, or take too long."""
    FETCHED_ELSEWHERE = "fetched_elsewhere"
    """Another process has fetched it, or has given up: look again, and fetch if it is still missing."""
    FAILED_ELSEWHERE = "failed_elsewhere"
    """Another process could not fetch it just now."""


@dataclass(slots=True, kw_only=True)
class FetchClaim:
    """A process's turn at one entity."""

    key: EntityKey
    turn: FetchLockOutcome
    token: bytes = b""
    """What marks it as ours, also when it is not known to be."""
    hold_ms: int = field(default=0, compare=False)
    is_ours: bool | None = field(default=None, compare=False)
    """True once it was taken, False where another has the turn; None until it is asked for."""
    found: CachedEntity | None = None
    is_there: bool = False
    """True where the entity stands in Redis by now: another may have fetched it since it was missed."""
    is_given_back: bool = False
    """True once it was given back along with what was fetched."""

    def may_be_answered(self, held: CachedEntity | None) -> bool:
        """True where another process may have fetched it: it is looked for again."""
        return self.turn is FetchLockOutcome.FETCHED_ELSEWHERE or (self.is_there and held is None)

    def is_answered(self, found: CachedEntity, held: CachedEntity | None, *, since: float) -> bool:
        """True where another process fetched what was found; of who gave no word of it, since that moment."""
        if held is not None:
            return found.confirmed_at > held.confirmed_at
        return self.turn is FetchLockOutcome.FETCHED_ELSEWHERE or found.confirmed_at >= since


Look: TypeAlias = Callable[[FetchClaim], Awaitable[CachedEntity | None]]


class FetchCoordinator(Protocol):
    """One fetch per entity among several processes."""

    async def claim(self, key: EntityKey, *, wait_seconds: float, look: "Look | None" = None) -> FetchClaim:
        """This process's turn, unless `look` finds it; waits so long for another process that fetches it."""
        ...

    async def done(self, claim: FetchClaim, *, error: str | None = None) -> None:
        """Lets the others go on; `error` is a short reason why there is nothing."""
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


class LastKnown(Protocol):
    """What was known before this process began."""

    def get(self, key: EntityKey) -> Entity | None:
        """The last known state of an entity, or None."""
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

    def origin_of(self, feature_id: str) -> FallbackOrigin:
        """Where the rule in force for this feature is configured; DEFAULT where none is."""
        ...


class Trusted(Protocol):
    """Who follows the feed."""

    @property
    def trust(self) -> Trust:
        """Since when the feed can be relied on."""
        ...


class FeedListener(Protocol):
    """Whom the feed calls; called from the feed's own task, in order."""

    async def followed(self) -> None:
        """All subscriptions are in force: from now on every change is delivered."""
        ...

    async def lost(self, cause: str) -> None:
        """Changes are missed from now on; `cause` is one of a bounded set of names."""
        ...

    async def delivered(self, subscription: str, frame: str) -> None:
        """One `next` frame of a subscription, as it came."""
        ...
