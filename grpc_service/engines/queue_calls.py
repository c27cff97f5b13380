"""Calls that cannot be answered at once: each is a task on the loop, over batches of the queue."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol, TypeAlias

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # private: its stubs know nothing of it

from grpc_service.errors import UNEXPECTED, PublicStatus
from grpc_service.methods import Call, Later, Refused, Reply, StreamMethod

NO_DEADLINE_SECONDS = 1e9
"""A deadline further away than this is none: the core gives the end of time instead."""

NO_FLAGS = 0

BEGIN = cygrpc.SendInitialMetadataOperation(None, NO_FLAGS)
"""Begins any call's answer: unlike the other operations it keeps nothing of the call."""

REFUSED_DEFECT = Refused(PublicStatus(grpc.StatusCode.INTERNAL, UNEXPECTED))

Event: TypeAlias = Any

Operations: TypeAlias = tuple[Any, ...]


def _remaining_seconds(event: Event) -> float | None:
    remaining: float = event.call_details.deadline - time.time()  # noqa: TID251 - the core's own clock
    return None if remaining > NO_DEADLINE_SECONDS else max(remaining, 0.0)


class QueueEngine(Protocol):
    """What a call asks of its engine; from the loop, but for `on_loop`."""

    def on_loop(self, work: Callable[[], object]) -> None:
        """Has the loop do it; from any thread."""
        ...

    def refuse(self, call: Any, refused: Refused, *, has_begun: bool = False) -> None:
        """Ends a call by a status."""
        ...

    def reply_later(self, call: Any, reply: Reply) -> None:
        """Ends a unary call by its reply."""
        ...

    def opened(self, call: Any) -> None:
        """A stream has asked for its next request."""
        ...

    def end(self, call: Any, *, has_begun: bool) -> None:
        """Ends a stream that was answered."""
        ...


class TaskOfCall:
    """A call that is answered by a task on the loop, which ends when the caller goes away."""

    def __init__(self, engine: QueueEngine, event: Event) -> None:
        self._engine = engine
        self._call = event.call
        self._event = event
        self._task: asyncio.Task[None] | None = None

    def spawn(self) -> None:
        """On the queue's thread: has the loop answer, and watches for the caller's leaving."""
        self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(NO_FLAGS),), self._closed)
        self._engine.on_loop(self._start)

    async def answer(self) -> None:
        """Answers the call; it must be finished by its end, whatever happens."""
        raise NotImplementedError

    def _start(self) -> None:
        # Not `Background`'s: the engine counts its calls, ends them, and answers what goes wrong in them.
        self._task = asyncio.ensure_future(self.answer())

    def _closed(self, event: Event) -> None:
        if event.batch_operations[0].cancelled():
            self._engine.on_loop(self._cancel)

    def _cancel(self) -> None:
        """Behind `_start`, and a turn later: a task that is cancelled before it began ends no call."""
        assert self._task is not None  # noqa: S101 - see the engine's story, 3
        asyncio.get_running_loop().call_soon(self._task.cancel)


class UnaryCall(TaskOfCall):
    """One request, one reply, over the loop."""

    def __init__(self, engine: QueueEngine, event: Event, begun: Later) -> None:
        super().__init__(engine, event)
        self._begun = begun

    async def answer(self) -> None:
        """On the loop: what could not be answered at once."""
        try:
            peer = self._call.peer().decode()
            call = Call(_remaining_seconds(self._event), self._event.invocation_metadata, peer)
            reply = await self._begun.answer(call)
        except Refused as refused:
            self._engine.refuse(self._call, refused)
        except BaseException:  # the call must be finished, also when the task is cancelled
            self._engine.refuse(self._call, REFUSED_DEFECT)
            raise
        else:
            self._engine.reply_later(self._call, reply)


class StreamCall(TaskOfCall):
    """Any number of requests and replies."""

    def __init__(self, engine: QueueEngine, event: Event, method: StreamMethod) -> None:
        super().__init__(engine, event)
        self._method = method
        self._has_begun = False

    async def answer(self) -> None:
        """On the loop: every reply in turn, then the status."""
        refusal: Refused | None = REFUSED_DEFECT
        try:
            async for reply in self._method.answer(self._requests()):
                begin = () if self._has_begun else (BEGIN,)
                self._has_begun = True
                await self._batch((*begin, cygrpc.SendMessageOperation(reply, NO_FLAGS)))
            refusal = None
        except Refused as refused:
            refusal = refused
        finally:
            if refusal is None:
                self._engine.end(self._call, has_begun=self._has_begun)
            else:
                self._engine.refuse(self._call, refusal, has_begun=self._has_begun)

    async def _requests(self) -> AsyncIterator[bytes]:
        while True:
            (received,) = await self._batch((cygrpc.ReceiveMessageOperation(NO_FLAGS),))
            self._engine.opened(self._call)
            request = received.message()
            if request is None:
                return
            yield request

    async def _batch(self, operations: Operations) -> Sequence[Any]:
        """Has the core do these; returns them when they are done."""
        done: asyncio.Future[Sequence[Any]] = asyncio.get_running_loop().create_future()

        def tag(event: Event) -> None:
            self._engine.on_loop(lambda: None if done.done() else done.set_result(event.batch_operations))

        self._call.start_server_batch(operations, tag)
        return await done
