"""Copies of answered reads go to another sidecar, and its answers are compared with ours.

A sampled read is left on a bounded heap by whatever thread answered it, the queue's as a rule: two calls and
no lock. A task on the loop takes from the heap at a steady pace, so that its cost has a bound whatever is
asked; what comes faster is dropped and counted. Callers never wait for any of it.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple

from entitlements import metrics
from entitlements.background import Background, ended
from entitlements.domain.difference import Difference, judge
from entitlements.service.shadow_ledger import ComparedRead, ShadowLedger
from grpc_service.client import SidecarClient, knew
from grpc_service.comparison import Outcome, compare
from grpc_service.ids import shown_id
from grpc_service.methods import Call, Refused, Reply, UnaryMethod, answered, observed
from grpc_service.reads import READS

MAX_WAITING = 64
"""So many sampled reads wait to be compared; one more is dropped."""
MAX_READ_BYTES = 256 * 1024
"""A sampled read with more bytes, request and reply together, is dropped: what waits has 16 MiB at most."""
TAKE_SECONDS = 0.1
"""10 a second are compared: each takes up to 3 ms of processor time from hits that want the whole of one."""
AWAY_SECONDS = 5.0
"""While the other one does not answer, or speaks garbage, it is asked no more often."""
MAX_UNDER_WAY = 16
"""So many wait for the other sidecar at a time; while they do, no more are taken."""
ANSWER_SECONDS = 5.0
"""The other sidecar has so long to answer."""
ASK_AGAIN_SECONDS = (1.0, 3.0, 6.0)
"""The pauses before both are asked again, while their answers differ."""
MAX_ASKED_AGAIN = 64
"""So many reads are being asked again at a time; one more is dropped."""
_DIGEST_BYTES = 16


class _Read(NamedTuple):
    method: UnaryMethod
    name: str
    request: bytes
    ours: Outcome


class Shadow:
    """The comparison of one process; all but its method's answers belong to one event loop."""

    def __init__(
        self,
        *,
        ledger: ShadowLedger,
        background: Background,
        random: Random,
        sample: float,
        id_key: bytes | None,
        ask_again_seconds: Sequence[float] = ASK_AGAIN_SECONDS,
    ) -> None:
        """Compares nothing yet.

        Args:
            ledger: keeps what was found; its address is asked.
            background: runs what asks.
            random: for the sample.
            sample: the share of reads that is compared (SIDECAR_SHADOW_SAMPLE).
            id_key: hashes the ids of customers and resources; None shows them (SIDECAR_SHADOW_IDS).
            ask_again_seconds: the pauses before both are asked again.
        """
        self._ledger = ledger
        self._background = background
        self._draw = random.random
        self._sample = sample
        self._id_key = id_key
        self._ask_again_seconds = ask_again_seconds
        self._waiting: deque[_Read] = deque()
        self._under_way = 0
        self._asked_again: set[bytes] = set()

    def middleware(self, method: UnaryMethod) -> UnaryMethod:
        """The same method, of whose replies a sample is compared; a write is returned as it is."""
        name = method.path.rpartition("/")[2]
        if name not in READS:
            return method
        draw, sample, offer = self._draw, self._sample, self._offer

        def note(request: bytes, reply: Reply) -> None:
            if draw() < sample:
                offer(method, name, request, reply)

        return UnaryMethod(path=method.path, begin=observed(method.begin, note))

    async def run(self) -> None:
        """Compares what was sampled, until it is cancelled."""
        tasks: set[asyncio.Task[None]] = set()
        async with SidecarClient(self._ledger.address) as client:
            try:
                while True:
                    await asyncio.sleep(AWAY_SECONDS if self._ledger.is_away else TAKE_SECONDS)
                    if not self._waiting or self._under_way >= MAX_UNDER_WAY:
                        continue
                    work = partial(self._compare, client, self._waiting.popleft())
                    task = self._background.once("shadow-read", work)
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                    self._under_way += 1
            finally:
                await ended(*tasks)

    def _offer(self, method: UnaryMethod, name: str, request: bytes, reply: Reply) -> None:
        """Leaves a read to be compared, from any thread."""
        if len(self._waiting) >= MAX_WAITING:
            metrics.SHADOW_BEHIND.count()
            return
        message, metadata = reply
        if len(request) + len(message) > MAX_READ_BYTES:
            metrics.SHADOW_DROPPED.labels("too_large").inc()
            return
        self._waiting.append(_Read(method, name, request, Outcome(message, knew=knew(dict(metadata)))))

    async def _compare(self, client: SidecarClient, read: _Read) -> None:
        try:
            theirs = await client.ask(read.name, read.request, seconds=ANSWER_SECONDS)
        finally:
            self._under_way -= 1
        if not theirs.is_answered:
            self._ledger.failed(read.name, theirs.status)
            return
        differences = compare(read.name, read.ours, theirs)
        if not differences:
            self._ledger.agreed(read.name)
            return
        question = hashlib.blake2b(read.name.encode() + read.request, digest_size=_DIGEST_BYTES).digest()
        if question in self._asked_again:
            return
        if len(self._asked_again) >= MAX_ASKED_AGAIN:
            metrics.SHADOW_DROPPED.labels("asked_again").inc()
            return
        self._asked_again.add(question)
        try:
            await self._ask_again(client, question, read, differences)
        finally:
            self._asked_again.discard(question)

    async def _ask_again(
        self, client: SidecarClient, question: bytes, read: _Read, differences: tuple[Difference, ...]
    ) -> None:
        """Tells what lasts from what one side only saw earlier."""
        asked = [differences]
        ours = theirs = read.ours
        for pause_seconds in self._ask_again_seconds:
            await asyncio.sleep(pause_seconds)
            theirs = await client.ask(read.name, read.request, seconds=ANSWER_SECONDS)
            ours = await _our_answer(read)
            if not theirs.is_answered or not ours.is_answered:
                self._ledger.failed(read.name, theirs.status)
                return
            asked.append(compare(read.name, ours, theirs))
            if not asked[-1]:
                break
        about: Any = READS[read.name].request.FromString(read.request)
        compared = ComparedRead(
            method=read.name,
            customer=shown_id(about.customer_id, self._id_key),
            resource=shown_id(about.resource_id, self._id_key) if about.resource_id else "",
            feature=getattr(about, "feature_id", "") or getattr(about, "currency_id", ""),
            differences=judge(asked),
            our_knowledge=ours.knew,
            their_knowledge=theirs.knew,
        )
        self._ledger.differed(question, compared)


async def _our_answer(read: _Read) -> Outcome:
    try:
        message, metadata = await answered(read.method, read.request, Call())
    except Refused as refused:
        return Outcome(status=refused.status.code.name)
    return Outcome(message, knew=knew(dict(metadata)))
