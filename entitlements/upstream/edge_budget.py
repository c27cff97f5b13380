"""When the Edge may be asked: within one budget for all processes that share it, else within our own share.

Tokens are taken a few at a time, before the last is used, so that a fetch does not wait for Redis. What is
not used within HOLD_SECONDS is given up: another minute has its own.
"""

import asyncio
from collections import deque
from random import Random
from typing import Protocol

from entitlements import metrics
from entitlements.background import Background
from entitlements.domain.errors import BudgetSpent
from entitlements.domain.ports import Clock, Source
from entitlements.domain.request_budget import HOLD_SECONDS, Pace, RequestBudget, Taken

MAX_BATCH = 20
"""No more tokens are taken at a time."""
BUSY_PACE = 4
"""Who used so many tokens within HOLD_SECONDS gets the next before it needs them; others would waste them."""
RETRY_SECONDS = 0.25
"""An empty budget is not asked again sooner."""
RECHECKS_SHARE = 0.8
"""Re-checks ask only while so much is left of what may be used at once.

The rest is kept for callers who wait; and after an outage a fleet, of which each process has thousands to
re-check, asks in the pace of the budget.
"""
AUDITS_SHARE = 0.9
"""Audits ask only while so much is left: they come after re-checks."""
SOONEST_PAUSE_SECONDS = 5.0
LATEST_PAUSE_SECONDS = 10.0
"""The pause after a 429 that names none lies between these."""


class FleetBudget(Protocol):
    """The budget of all processes."""

    async def take(self, wanted: int) -> Taken | None:
        """So many tokens, or as many as there are; None: nobody can be asked."""
        ...

    async def close(self, pause_seconds: float) -> None:
        """Gives nobody any for so long."""
        ...


class EdgeBudget:
    """Its methods belong to the event loop."""

    def __init__(
        self,
        *,
        clock: Clock,
        random: Random,
        background: Background,
        per_minute: int,
        fleet_size: int,
        fleet: FleetBudget | None,
    ) -> None:
        """Takes nothing yet.

        Args:
            clock: for how old a token is.
            random: for jitter.
            background: the parent of what is taken ahead.
            per_minute: of all processes.
            fleet_size: so many of them share it where `fleet` does not answer.
            fleet: what all share; None: nothing.
        """
        self._clock = clock
        self._random = random
        self._background = background
        self._fleet = fleet
        self._fleet_pace = Pace(per_minute)
        self._own_pace = Pace(per_minute / fleet_size)
        self._own = RequestBudget(self._own_pace)
        self._seen = Taken(tokens=0, remaining=self._own_pace.burst)
        self._most = self._own_pace.burst
        self._tokens: deque[float] = deque(maxlen=2 * MAX_BATCH)
        """When each was taken that is not used yet."""
        self._retry_at = self._closed_until = float("-inf")
        self._used_at: deque[float] = deque(maxlen=MAX_BATCH)
        self._waiting = 0
        self._taking: asyncio.Task[None] | None = None

    @property
    def remaining(self) -> int:
        """How many requests could be made at once, as it was seen last."""
        return self._seen.remaining + len(self._tokens)

    @property
    def is_closed(self) -> bool:
        """True during the pause after a 429."""
        return self._clock.monotonic() < self._closed_until

    def prepare(self) -> None:
        """A fetch begins that may need a token: it is taken beside what the fetch does first."""
        if not self._has_token() and not self._is_empty():
            self._take_ahead()

    async def acquire(self) -> None:
        """Returns when the Edge may be asked once.

        Raises:
            BudgetSpent: it may not.
        """
        self._waiting += 1
        try:
            while not self._has_token():
                if self._is_empty():
                    metrics.EDGE_BUDGET_REFUSED.labels("miss").inc()
                    raise BudgetSpent(Source.EDGE.value)
                await asyncio.shield(self._take_ahead())
        finally:
            self._waiting -= 1
        self._tokens.popleft()
        self._used_at.append(self._clock.monotonic())
        metrics.EDGE_BUDGET_USED.inc()
        pace = self._pace()
        if pace >= BUSY_PACE and len(self._tokens) <= pace // BUSY_PACE and not self._is_empty():
            self._take_ahead()

    async def room_for_recheck(self) -> None:
        """Returns when a re-check takes nothing that callers who wait may need."""
        await self._room("recheck", RECHECKS_SHARE)

    async def room_for_audit(self) -> None:
        """Returns when an audit takes nothing that callers or re-checks may need."""
        await self._room("audit", AUDITS_SHARE)

    async def throttled(self) -> None:
        """The Edge answered 429 and named no pause: nobody asks it for a while."""
        pause = self._random.uniform(SOONEST_PAUSE_SECONDS, LATEST_PAUSE_SECONDS)
        now = self._clock.monotonic()
        self._tokens.clear()
        self._retry_at = now + RETRY_SECONDS
        if self.is_closed:
            return
        self._closed_until = now + pause
        self._own.close(pause, now=now)
        if self._fleet is not None:
            await self._fleet.close(pause)

    async def _room(self, kind: str, share: float) -> None:
        """Returns while this share of what may be used at once is left."""
        is_counted = False
        while not await self._has_room(share):
            if not is_counted:
                metrics.EDGE_BUDGET_REFUSED.labels(kind).inc()
                is_counted = True
            await asyncio.sleep(RETRY_SECONDS)

    async def _has_room(self, share: float) -> bool:
        """Looks, then takes one: a token that waits is given up, and who waits would waste them all."""
        if self._has_token():
            return self.remaining >= self._most * share
        if (await self._ask(0)).remaining < self._most * share:
            return False
        asked_at = self._clock.monotonic()
        self._tokens.extend([asked_at] * (await self._ask(1)).tokens)
        return self._has_token()

    def _has_token(self) -> bool:
        oldest = self._clock.monotonic() - HOLD_SECONDS
        while self._tokens and self._tokens[0] <= oldest:
            self._tokens.popleft()
        return bool(self._tokens)

    def _is_empty(self) -> bool:
        """True where it was seen just now that there are none."""
        return self._clock.monotonic() < self._retry_at

    def _pace(self) -> int:
        """How many were used within the last HOLD_SECONDS; no more than MAX_BATCH."""
        since = self._clock.monotonic() - HOLD_SECONDS
        while self._used_at and self._used_at[0] <= since:
            self._used_at.popleft()
        return len(self._used_at)

    def _take_ahead(self) -> "asyncio.Task[None]":
        if self._taking is None or self._taking.done():
            self._taking = self._background.once("edge-budget", self._take)
        return self._taking

    async def _take(self) -> None:
        asked_at = self._clock.monotonic()
        self._retry_at = asked_at + RETRY_SECONDS  # also where a defect ends this
        taken = await self._ask(min(MAX_BATCH, max(1, self._waiting, self._pace())))
        self._tokens.extend([asked_at] * taken.tokens)
        now = self._clock.monotonic()
        self._retry_at = now if self._has_token() else now + RETRY_SECONDS

    async def _ask(self, wanted: int) -> Taken:
        """So many tokens, or none and what is left: of all processes, or of the own share."""
        taken = None if self._fleet is None else await self._fleet.take(wanted)
        self._most = self._fleet_pace.burst
        if taken is None:
            taken = self._own.take(wanted, now=self._clock.monotonic())
            self._most = self._own_pace.burst
        self._seen = taken
        self._closed_until = self._clock.monotonic() + taken.closed_seconds
        metrics.EDGE_BUDGET_REMAINING.set(taken.remaining)
        return taken
