"""Drift audit: a small sample of what is held is compared with the cloud, and repaired where it differs.

It finds what no other part can: a change that never arrived, though nothing was seen to be missed.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from random import Random
from typing import Protocol

from entitlements import metrics
from entitlements.domain.breaker import BreakerState
from entitlements.domain.cached_entity import CachedEntity, merge_cached
from entitlements.domain.difference import Difference
from entitlements.domain.drift import Drift, drift_between
from entitlements.domain.entity import EntityKey
from entitlements.domain.entity_history import Origin
from entitlements.domain.errors import Overloaded, UpstreamError
from entitlements.domain.freshness import EntityState, state_of
from entitlements.domain.ports import Clock, Trusted
from entitlements.domain.request_budget import Pace, RequestBudget, Taken
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.service.circuits import Circuits
from entitlements.service.fetcher import EntityFetcher
from entitlements.service.flight import NotFetched

logger = logging.getLogger(__name__)

SAMPLE_SIZE = 100
"""So many entities are drawn at a time; who is gone by its turn is left out."""
RESULTS_KEPT = 100
"""The share that was right is that of so many audits."""
NEWS_SECONDS = 5.0
"""The cloud may answer what the feed has yet to bring: what differs is looked at again after this."""
SOONEST_TURN = 0.25
LATEST_TURN = 0.75
"""Between two tries to have a turn pass this many times its interval: a fleet does not try in step."""


class Outcome(Enum):
    """What an audit came to."""

    RIGHT = "right"
    """What is held is what the cloud has."""
    DIFFERED = "differed"
    """It was not, and no news of it arrived; it was repaired."""
    OVERTAKEN = "overtaken"
    """News arrived meanwhile."""
    FAILED = "failed"
    """The cloud did not answer."""


class Holdings(Protocol):
    """What this process holds."""

    def keys(self) -> Sequence[EntityKey]:
        """All of it."""
        ...

    def peek(self, key: EntityKey) -> CachedEntity | None:
        """One entity, without counting as its use."""
        ...


class SharedTurns(Protocol):
    """The turns of all processes."""

    async def take(self, wanted: int) -> Taken | None:
        """So many turns, or as many as there are; None: nobody can be asked."""
        ...


class DriftAudit:
    """Its methods belong to the event loop; what it found is read from any thread.

    The story of a difference. The cloud answers 7, and 6 is held. Either the change to 7 was lost, or it is
    on its way, or it arrives while we ask. So what is held is merged with the answer as any answer would be:
    what is known since later than the question wins, and does not differ. Where it still differs NEWS_SECONDS
    later, it is fetched as for a caller, which repairs it, and what that changed is counted.
    """

    def __init__(  # noqa: PLR0913 - each a part of its own
        self,
        *,
        holdings: Holdings,
        fetcher: EntityFetcher,
        circuits: Circuits,
        feed: Trusted,
        clock: Clock,
        random: Random,
        per_minute: float,
        fleet_size: int,
        turns: SharedTurns | None = None,
        room: Callable[[], Awaitable[None]] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Audits nothing yet.

        Args:
            holdings: what is compared.
            fetcher: asks the cloud, and repairs.
            circuits: while one is open nothing is audited.
            feed: while changes do not arrive, what is held is checked again by other means.
            clock: for what is fresh, and over.
            random: draws the sample, and jitter.
            per_minute: so many audits of all processes, at most.
            fleet_size: so many processes share that where `turns` does not answer.
            turns: what all processes share; None: nothing.
            room: waits until an audit takes nothing that callers or re-checks may need; None: it never does.
            sleep: waits.
        """
        self._holdings = holdings
        self._fetcher = fetcher
        self._circuits = circuits
        self._feed = feed
        self._clock = clock
        self._random = random
        self._interval_seconds = Pace(per_minute).interval_seconds
        self._turns = turns
        self._own_turns = RequestBudget(Pace(per_minute / fleet_size))
        self._room = room
        self._sleep = sleep
        self._sample: list[EntityKey] = []
        self._were_right: deque[bool] = deque(maxlen=RESULTS_KEPT)
        self._log = RateLimitedLog(logger, clock.monotonic)
        self.counts: Counter[str] = Counter({each.value: 0 for each in Outcome})
        """How many audits ended so."""
        self.differences: Counter[str] = Counter()
        """How many differences of each kind were found and repaired."""
        self.differed_at = float("-inf")
        """When one was found last, monotonic seconds."""
        for kind in Drift:
            metrics.AUDIT_DIFFERENCES.labels(kind.value)  # an increase from nothing is none for Prometheus

    @property
    def right_share(self) -> float | None:
        """The share that was right of the last RESULTS_KEPT audits; None before the first."""
        results = tuple(self._were_right)
        return sum(results) / len(results) if results else None

    async def run(self) -> None:
        """Audits in turn, until cancelled."""
        while True:
            await self._sleep(self._random.uniform(SOONEST_TURN, LATEST_TURN) * self._interval_seconds)
            await self.take_turn()

    async def take_turn(self) -> Outcome | None:
        """Audits one entity where that may be; None: nothing was audited."""
        if not self._may_ask():
            return None
        key = self._next()
        if key is None or not await self._has_turn():
            return None
        if self._room is not None:
            await self._room()
        held = self._fresh(key)
        if held is None or not self._may_ask():
            return None
        outcome = await self._audit(key)
        self._note(outcome)
        return outcome

    def _may_ask(self) -> bool:
        states = self._circuits.states.values()
        return self._feed.trust.following and all(state is BreakerState.CLOSED for state in states)

    async def _has_turn(self) -> bool:
        taken = None if self._turns is None else await self._turns.take(1)
        if taken is None:
            taken = self._own_turns.take(1, now=self._clock.monotonic())
        return taken.tokens > 0

    def _next(self) -> EntityKey | None:
        """One of the sample that can be relied on; None where there is none."""
        if not self._sample:
            keys = self._holdings.keys()
            self._sample = self._random.sample(keys, min(len(keys), SAMPLE_SIZE))
        while self._sample:
            key = self._sample.pop()
            if self._fresh(key) is not None:
                return key
        return None

    def _fresh(self, key: EntityKey) -> CachedEntity | None:
        """What is answered from without a re-check."""
        held = self._holdings.peek(key)
        if held is None or held.lacks_usages:
            return None
        state = state_of(held, trust=self._feed.trust, now=self._clock.monotonic())
        return held if state is EntityState.FRESH else None

    async def _audit(self, key: EntityKey) -> Outcome:
        asked_at = self._clock.monotonic()
        try:
            entity = await self._fetcher.ask(key)
        except (UpstreamError, Overloaded):
            return Outcome.FAILED
        answer, answered_at_ms = CachedEntity(entity=entity, confirmed_at=asked_at), self._clock.now_ms()
        held = self._fresh(key)
        if held is None:
            return Outcome.OVERTAKEN
        if not self._differences(held, answer, answered_at_ms):
            return Outcome.RIGHT
        await self._sleep(NEWS_SECONDS)
        held = self._fresh(key)
        places = {} if held is None else _places(self._differences(held, answer, answered_at_ms))
        if held is None or not places:
            return Outcome.OVERTAKEN
        return await self._repair(key, held, places)

    def _differences(self, held: CachedEntity, answer: CachedEntity, answered_at_ms: int) -> list[Difference]:
        """What the answer would change of what is held."""
        merged = merge_cached(held, answer, answered_at_ms=answered_at_ms)
        return drift_between(held.entity, merged.entity, now_ms=self._clock.now_ms())

    async def _repair(
        self, key: EntityKey, held: CachedEntity, places: dict[tuple[str, str], None]
    ) -> Outcome:
        outcome = await self._fetcher.fetch(key, origin=Origin.AUDIT)
        if isinstance(outcome, NotFetched):
            return Outcome.FAILED
        changed = drift_between(held.entity, outcome.cached.entity, now_ms=self._clock.now_ms())
        kinds = Counter(field for field, element in _places(changed) if (field, element) in places)
        if not kinds:
            return Outcome.OVERTAKEN
        self.differences.update(kinds)
        self.differed_at = self._clock.monotonic()
        for kind, count in kinds.items():
            metrics.AUDIT_DIFFERENCES.labels(kind).inc(count)
        shown = ", ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items()))
        self._log.warning(
            "differed", "what was held of a customer differed from the cloud, and is repaired kinds=%s", shown
        )
        return Outcome.DIFFERED

    def _note(self, outcome: Outcome) -> None:
        self.counts[outcome.value] += 1
        metrics.AUDITS.labels(outcome.value).inc()
        if outcome in {Outcome.RIGHT, Outcome.DIFFERED}:
            self._were_right.append(outcome is Outcome.RIGHT)
            metrics.AUDIT_RIGHT.set(self.right_share or 0)


def _places(differences: Sequence[Difference]) -> dict[tuple[str, str], None]:
    return dict.fromkeys((each.field, each.element) for each in differences)
