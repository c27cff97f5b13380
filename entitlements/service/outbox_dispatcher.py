"""Empties the outbox towards the cloud, in order; what the cloud refuses goes aside, with its reason."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random

from entitlements import metrics
from entitlements.domain.errors import (
    Busy,
    CircuitOpen,
    KeyRefused,
    Offline,
    OutboxUnavailable,
    Rejected,
    SidecarError,
    Throttled,
    UpstreamError,
)
from entitlements.domain.outbox import (
    KEY_MEMORY_MS,
    TOO_OLD,
    Outbox,
    OutboxEntry,
    OutboxState,
    Write,
)
from entitlements.domain.ports import Clock, ReportSink
from entitlements.domain.usage import (
    MAX_EVENTS_PER_CALL,
    UsageEvent,
    UsageReceipt,
    UsageReport,
)
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.service.delivery_pause import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, DeliveryPause
from entitlements.service.outbox_batches import first_batch, kind_of
from entitlements.service.resting_writes import RestingWrites

logger = logging.getLogger(__name__)

SEND_SECONDS = 5.0
"""One delivery takes no longer: less than a lease holds, so that two processes do not deliver at a time."""
LOOK_SECONDS = 1.0
"""So often an empty outbox is looked at; what this process accepts is delivered without waiting for it."""
_FAULTS_OF_NO_WRITE = (KeyRefused, Throttled, Busy, CircuitOpen)
"""What fails so fails for all that is sent."""


class OutboxDispatcher:
    """Accepts writes for later and delivers them; people ask the `Outbox` itself.

    The story of a delivery. Any process accepts, one at a time sends; every `await` lets others in.

    1. A batch is read and stays in the outbox. It is settled only after the cloud took it, so a crash in
       between sends it twice: the idempotency keys, for which `KEY_MEMORY_MS` is the bound, make that one.
    2. The lease may end while a batch is on its way (`SEND_SECONDS` is less than it holds, but a process may
       be suspended). The next holder sends the same entries; whoever settles second finds nothing to settle.
    3. A refused batch is sent in halves. Before each the lease is asked for again, since halves take time.
    4. What is accepted meanwhile goes behind; `has_waiting` keeps a report from overtaking one that waits.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        sink: ReportSink,
        clock: Clock,
        random: Random,
        may_deliver: Callable[[], Awaitable[bool]],
        show: Callable[[UsageReceipt], Awaitable[None]],
    ) -> None:
        """Delivers nothing until `run`.

        Args:
            outbox: where writes wait.
            sink: the cloud.
            clock: for ages.
            random: for jitter.
            may_deliver: True while no other process delivers.
            show: called with the receipts of usage reports that were delivered.
        """
        self.state = OutboxState()
        """As it was seen last."""
        self.counts = {"accepted": 0, "delivered": 0, "retried": 0, "refused": 0, "lost": 0}
        """What happened since this process started."""
        self.is_available = True
        """False while it cannot be looked at: then nothing is kept."""
        self._outbox = outbox
        self._sink = sink
        self._clock = clock
        self.pause = DeliveryPause(clock=clock, random=random)
        self._may_deliver = may_deliver
        self._show = show
        self._arrived = asyncio.Event()
        self._take = MAX_EVENTS_PER_CALL
        self._at_a_time = MAX_EVENTS_PER_CALL
        self._resting = RestingWrites()
        self._log = RateLimitedLog(logger, clock.monotonic)

    async def accept(self, writes: Sequence[Write]) -> None:
        """Promises delivery of all of them; raises Overloaded or OutboxUnavailable instead."""
        await self._outbox.accept(writes)
        for write in writes:
            metrics.OUTBOX_ACCEPTED.labels(kind_of(write)).inc()
        self.counts["accepted"] += len(writes)
        self.state = replace(self.state, waiting=self.state.waiting + len(writes))
        metrics.OUTBOX_DEPTH.set(self.state.waiting)
        self._arrived.set()

    @property
    def is_known_to_wait(self) -> bool:
        """True when something waits, as this process knows: its own writes at once, others within 1 s."""
        return self.is_available and self.state.waiting > 0

    async def has_waiting(self) -> bool:
        """True when something waits, whoever wrote it: what comes now must not overtake it."""
        with suppress(OutboxUnavailable):
            return (await self.look()).waiting > 0
        return False

    async def run(self) -> None:
        """Delivers until cancelled."""
        while True:
            try:
                pause_seconds = await self.deliver_once()
            except Exception:  # delivery must go on while the process lives; the entries stay
                logger.exception("delivery from the outbox failed unexpectedly and is tried again")
                pause_seconds = LONGEST_PAUSE_SECONDS
            if pause_seconds == 0:
                continue
            if self.pause.delay is not None:  # what arrives does not shorten the cloud's pause
                await self._rest(pause_seconds)
                continue
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds):
                    await self._arrived.wait()

    async def drain(self, *, grace_seconds: float) -> None:
        """Delivers what waits, for so long at most; what is left stays for the next process."""
        with suppress(TimeoutError, SidecarError):
            async with asyncio.timeout(grace_seconds):
                while await self.deliver_once() == 0:
                    pass

    async def deliver_once(self) -> float:
        """Delivers one batch; returns the seconds to wait before the next, 0 while there is more."""
        try:
            return await self._deliver()
        except Offline:
            return LONGEST_PAUSE_SECONDS
        except SidecarError as error:
            self.counts["retried"] += 1
            metrics.OUTBOX_RETRIED.labels(getattr(error, "outcome", "failed")).inc()
            cause = type(error).__name__
            self._log.warning(cause, "the outbox waits for the cloud: %s", cause)
            return self.pause.after(error)

    @property
    def resting(self) -> int:
        """How many failed alone while others were delivered, and are tried again later."""
        return self._resting.count

    async def _deliver(self) -> float:
        await self.look()
        if self.state.waiting == 0:
            self.pause.over()
        if self.state.waiting == 0 or not await self._may_deliver():
            return LOOK_SECONDS
        batch = self._next_batch(await self._without_too_old(await self._oldest()))
        if not batch:
            return LOOK_SECONDS if self._resting.count else 0
        return await self._send_or_narrow(batch)

    def _next_batch(self, entries: Sequence[OutboxEntry]) -> Sequence[OutboxEntry]:
        """What is sent next; one that has rested is tried alone, so that it holds up nothing again."""
        now = self._clock.monotonic()
        ready = self._resting.leave_out(entries, now=now)
        if not ready:  # nothing is left that could show whose fault it is
            self._resting.forget_suspects()
            ready = self._resting.leave_out(entries, now=now)
        rested = [entry for entry in ready if self._resting.has_rested(entry)]
        return rested[:1] or first_batch(ready)[: self._at_a_time]

    async def _send_or_narrow(self, batch: Sequence[OutboxEntry]) -> float:
        """Sends a batch; what fails without a reason is narrowed down until it stands alone.

        Returns:
            The seconds to wait before the next.
        """
        try:
            await self._send(batch)
        except UpstreamError as error:
            if isinstance(error, _FAULTS_OF_NO_WRITE):
                raise
            if len(batch) == 1:
                self._resting.failed_alone(batch[0])
                raise
            self._at_a_time = len(batch) // 2
            metrics.OUTBOX_RETRIED.labels(error.outcome).inc()
            self.counts["retried"] += 1
            return FIRST_PAUSE_SECONDS
        self._at_a_time = min(self._at_a_time * 2, MAX_EVENTS_PER_CALL)
        self.pause.over()
        return 0

    async def _without_too_old(self, entries: Sequence[OutboxEntry]) -> Sequence[OutboxEntry]:
        """What is still sent by itself; the rest is set aside, for a person to decide."""
        latest_ms = self._clock.now_ms() - KEY_MEMORY_MS
        for entry in entries:
            if entry.accepted_at_ms < latest_ms:
                await self._bury(entry, TOO_OLD)
        return [entry for entry in entries if entry.accepted_at_ms >= latest_ms]

    async def _oldest(self) -> Sequence[OutboxEntry]:
        """As many as can be read in time: where entries are large, a thousand may be more than that."""
        try:
            entries = await self._outbox.oldest(self._take)
        except OutboxUnavailable:
            self._take = max(self._take // 2, 1)
            raise
        self._take = min(self._take * 2, MAX_EVENTS_PER_CALL)
        return entries

    async def _send(self, entries: Sequence[OutboxEntry]) -> None:
        """Sends in order; a batch that is refused is halved until what is refused stands alone."""
        try:
            await self._send_together([entry.write for entry in entries])
        except Rejected as error:
            if not error.is_about_the_request:
                raise
            if len(entries) == 1:
                await self._bury(entries[0], str(error))
                return
            half = len(entries) // 2
            for part in (entries[:half], entries[half:]):
                if await self._may_deliver():  # by now the lease may be over, and another delivers
                    await self._send(part)
            return
        self._resting.taken(entries, now=self._clock.monotonic())
        await self._outbox.settle(entries)
        metrics.OUTBOX_DELIVERED.labels(kind_of(entries[0].write)).inc(len(entries))
        self.counts["delivered"] += len(entries)

    async def _send_together(self, writes: Sequence[Write]) -> None:
        events = [write for write in writes if isinstance(write, UsageEvent)]
        if events:
            await self._sink.report_events(events, budget_seconds=SEND_SECONDS)
            return
        reports = [write for write in writes if isinstance(write, UsageReport)]
        receipts = await self._sink.report_usage_bulk(reports, budget_seconds=SEND_SECONDS)
        # The last of each meter: shown one by one, the first would undo the estimate of those behind it.
        for receipt in {(receipt.key, receipt.feature_id): receipt for receipt in receipts}.values():
            await self._show(receipt)

    async def _bury(self, entry: OutboxEntry, reason: str) -> None:
        await self._outbox.bury(entry, reason=reason)
        self._resting.gone(entry)
        metrics.OUTBOX_DEAD.labels(kind_of(entry.write)).inc()
        self.counts["refused"] += 1
        self._log.warning("refused", "the cloud refused a write of the outbox: see `manage.py outbox list`")

    async def _rest(self, seconds: float) -> None:
        """Goes on looking meanwhile: people may remove what waits, and health tells how much does."""
        while seconds > 0:
            await asyncio.sleep(min(seconds, LOOK_SECONDS))
            seconds -= LOOK_SECONDS
            with suppress(OutboxUnavailable):
                await self.look()

    async def look(self) -> OutboxState:
        """How full the outbox is; raises OutboxUnavailable."""
        try:
            state = self.state = await self._outbox.state()
        except OutboxUnavailable:
            self.is_available = False
            raise
        self.is_available = True
        lost = self._outbox.taken_losses()
        if lost:
            self.counts["lost"] += lost
            metrics.OUTBOX_LOST.inc(lost)
            logger.error("the outbox lost writes that were promised to be delivered lost=%d", lost)
        oldest = state.oldest_accepted_at_ms
        metrics.OUTBOX_DEPTH.set(state.waiting)
        metrics.OUTBOX_DEAD_LETTERS.set(state.dead)
        metrics.OUTBOX_RESTING.set(self._resting.count)
        metrics.OUTBOX_OLDEST_AGE.set(0 if oldest is None else max(0, self._clock.now_ms() - oldest) / 1000)
        return state
