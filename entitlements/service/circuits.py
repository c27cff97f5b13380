"""The circuit of each source: whether it is asked, what failed, and the probe that finds out that it is back.

A failure is noted for the entity that it was about (contract/upstream.md, Whose fault it is); a success of
any kind counts for the source, a write's too. An open circuit is probed also when nobody asks.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from types import MappingProxyType

from entitlements.domain.breaker import Breaker, BreakerState
from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import (
    Busy,
    Forbidden,
    KeyRefused,
    Offline,
    Rejected,
    Throttled,
    TooLarge,
    Unreachable,
    UpstreamError,
)
from entitlements.domain.gap import Gap, GapLog
from entitlements.domain.ports import Clock, Source
from entitlements.service.outages import Outages

logger = logging.getLogger(__name__)

KEY_REFUSED_PAUSE_SECONDS = 10.0
"""A refused key is tried again after this: it may have been fixed in the cloud."""
THROTTLED_PAUSE_SECONDS = 2.0
"""A cloud that asks to slow down without saying how long is left alone for this."""
LOOK_SECONDS = 0.5
"""So often it is looked whether a probe is due."""
PROBE_BUDGET_SECONDS = 1.0
"""A probe takes no longer."""

Probe = Callable[[float], Awaitable[None]]
"""Asks a source something that costs it little, within a number of seconds; raises UpstreamError."""


def _nothing() -> None:
    """No listener."""


class Circuits:
    """One circuit for each source."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        clock: Clock,
        doubt_key: Callable[[], None] = _nothing,
        max_unverified_seconds: float = inf,
    ) -> None:
        """Closed.

        Args:
            sources: whose circuits these are.
            clock: for pauses.
            doubt_key: called on a 403, which may be about the key.
            max_unverified_seconds: for no longer re-checks are spread out after an outage.
        """
        self._doubt_key = doubt_key
        self._breakers = {source: Breaker() for source in sources}
        self._answered_at = dict.fromkeys(sources, float("-inf"))
        """When each sent an entity last. What was asked before, and was not answered in time, was one of a
        crowd of ours: a source that is down answers nobody."""
        self._closed_at = dict.fromkeys(sources, float("-inf"))
        """When each closed last. A failure of what began before is old news: as an outage ends, dozens of
        fetches still run into their time-outs, and would open the circuit of a source that is well."""
        self._clock = clock
        self._outages = Outages(clock.monotonic)
        self._gaps = GapLog(max_unverified_seconds=max_unverified_seconds)

    @property
    def states(self) -> Mapping[Source, BreakerState]:
        """Whether each source is asked at present."""
        return MappingProxyType({source: breaker.state for source, breaker in self._breakers.items()})

    def is_probed(self, source: Source) -> bool:
        """True while one question finds out whether the source is back."""
        return self._breakers[source].state is BreakerState.HALF_OPEN

    @property
    def last_gap(self) -> Gap:
        """When no source was asked last, all circuits being open; what was not asked then will be."""
        return self._gaps.last

    @property
    def failures(self) -> Mapping[Source, str]:
        """How each source failed that did not answer when it was asked last."""
        return self._outages.causes

    def any_would_allow(self) -> bool:
        """False while no source would be asked, so that an outage costs a caller no queueing either."""
        now = self._clock.monotonic()
        return any(breaker.would_allow(now) for breaker in self._breakers.values())

    def try_acquire(self, source: Source) -> bool:
        """True when the source may be asked now; the first True after a pause is the probe."""
        return self._breakers[source].try_acquire(self._clock.monotonic())

    def succeeded(self, source: Source) -> None:
        """An entity was fetched from it."""
        before = self._breakers[source].state
        self._breakers[source].succeeded()
        now = self._answered_at[source] = self._clock.monotonic()
        if before is not BreakerState.CLOSED:
            self._closed_at[source] = now
        self._note_gap()
        self._outages.answered(source, was=before)

    def answered(self, source: Source) -> None:
        """It answered something else: a report, a probe, the feed's subscriptions."""
        breaker = self._breakers.get(source)
        if breaker is not None and breaker.state is not BreakerState.CLOSED:
            before = breaker.state
            breaker.answered()
            self._note_closing(source, was=before)
            self._outages.answered(source, was=before)

    def failed(
        self,
        source: Source,
        error: UpstreamError,
        *,
        key: EntityKey | None = None,
        began_at: float = float("inf"),
    ) -> None:
        """It failed to answer about an entity, which it was asked at that moment; None: about none."""
        breaker = self._breakers[source]
        before = breaker.state
        if before is BreakerState.CLOSED and self._is_old_news(source, error, began_at):
            return
        self._note(breaker, error, key)
        self._note_closing(source, was=before)
        self._outages.failed(source, error, was=before, now=breaker.state)

    def _is_old_news(self, source: Source, error: UpstreamError, began_at: float) -> bool:
        """True where the source has shown since that it is well."""
        if began_at < self._closed_at[source]:
            return True
        return isinstance(error, Unreachable) and began_at < self._answered_at[source]

    def abandoned(self, source: Source) -> None:
        """A question was given up without an outcome."""
        self._breakers[source].abandoned(self._clock.monotonic())

    async def probe(self, probes: Mapping[Source, Probe]) -> None:
        """Probes each open circuit when its pause is over, until cancelled."""
        while True:
            for source, probe in probes.items():
                if self._breakers[source].state is BreakerState.OPEN and self.try_acquire(source):
                    await self._probe(source, probe)
            await asyncio.sleep(LOOK_SECONDS)

    async def _probe(self, source: Source, probe: Probe) -> None:
        try:
            await probe(PROBE_BUDGET_SECONDS)
        except UpstreamError as error:
            self.failed(source, error)
        except BaseException:
            self.abandoned(source)
            raise
        else:
            self.answered(source)

    def _note_gap(self) -> None:
        is_well = any(breaker.state is BreakerState.CLOSED for breaker in self._breakers.values())
        self._gaps.note(is_well=is_well, now=self._clock.monotonic())

    def _note_closing(self, source: Source, *, was: BreakerState) -> None:
        self._note_gap()
        if was is not BreakerState.CLOSED and self._breakers[source].state is BreakerState.CLOSED:
            self._closed_at[source] = self._clock.monotonic()

    def _note(self, breaker: Breaker, error: UpstreamError, key: EntityKey | None) -> None:
        now = self._clock.monotonic()
        match error:
            case Rejected() | Offline() | TooLarge():
                breaker.succeeded()
            case Busy():  # our own slowness is not the source's
                breaker.abandoned(now)
            case Forbidden():
                self._doubt_key()
                breaker.failed(now, subject=key)
            case KeyRefused():
                breaker.trip(now, pause_seconds=KEY_REFUSED_PAUSE_SECONDS)
            case Throttled(retry_after_seconds=seconds):
                breaker.failed(now, subject=key, pause_seconds=seconds or THROTTLED_PAUSE_SECONDS)
            case _:
                breaker.failed(now, subject=key)
