"""The engine below grpc.aio: one thread on the completion queue of gRPC's core.

What memory can answer is answered on that thread, in one batch; every other call gets a task on the event
loop, which starts its batches from there. This is the only module that rests on grpcio's private layer
(`grpc._cython.cygrpc`), as its own `grpc/_server.py` uses it; pyproject.toml pins the minor version tested,
and `selection` tries it before it is relied on.
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # private: its stubs know nothing of it

from grpc_service.engines.interface import NO_REQUEST, TOO_MANY, UNKNOWN_METHOD, EngineSettings
from grpc_service.engines.places import TICK_SECONDS, Places
from grpc_service.engines.queue_calls import BEGIN, NO_FLAGS, REFUSED_DEFECT, Event, StreamCall, UnaryCall
from grpc_service.errors import PublicStatus
from grpc_service.methods import Later, Refused, Reply, UnaryMethod

logger = logging.getLogger(__name__)

CALLS_AWAITED = 32
"""How many calls can arrive at once without waiting until the core is asked for one more."""
SWITCH_INTERVAL_SECONDS = 0.0005
"""An event of the queue waits so long for a busy loop to let the interpreter go (Python's own: 5 ms)."""
_OK = cygrpc.StatusCode.ok
_RESOURCE_EXHAUSTED = cygrpc.StatusCode.resource_exhausted
_REFUSED_UNKNOWN = Refused(PublicStatus(grpc.StatusCode.UNIMPLEMENTED, UNKNOWN_METHOD))
_REFUSED_TOO_MANY = Refused(TOO_MANY)
_REFUSED_NO_REQUEST = Refused(NO_REQUEST)


class CompletionQueueEngine:
    """An `Engine`.

    The story of a call. The queue's thread polls, and runs every tag; tasks run on the event loop. Both may
    start batches, but a batch's end always arrives on the queue's thread: the numbers that `__init__` makes
    last belong to that thread alone and need no lock. A call that waits for its client, who sends no request
    or reads no reply, is held by `places`, which may end it.

    1. `_accept`: a call has begun. Another is asked for in its place, then its request is.
    2. `_received`: memory can answer (`begin` does): one batch, on this thread, and it is done.
    3. It cannot: `spawn` has the core watch for the caller's leaving, then sends `_start` to the loop. The
       leaving arrives on this thread, thus after `spawn`: `_cancel` reaches the loop behind `_start`.
    4. A caller who leaves has its task cancelled. The task still ends the call by a status that nobody reads:
       only the end of that batch, `_finished`, takes the call off `_under_way`. A call that
       `places` ends is cancelled in the core, and goes the same way.
    5. `stop` shuts the server down from the loop. Each of the `_awaited` comes back without success, calls
       under way end, or are cancelled after the grace period. When both numbers are 0 the thread ends and
       notifies the loop; only then is the server destroyed, which has nothing under way any more.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._methods = {method.path.encode(): method for method in settings.methods}
        self._max_concurrent_calls = settings.max_concurrent_calls
        self.places: Places[Any] = Places(
            max_calls=settings.max_concurrent_calls,
            peer_of=lambda call: call.peer().decode(),
            end=lambda call, details: call.cancel(_RESOURCE_EXHAUSTED, details),
            on_ended=settings.on_ended,
        )
        self._tick_at = (
            0.0  # set whole, by the queue's thread at a tick and by the loop once it is too far away
        )
        self._looking: asyncio.TimerHandle | None = None
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(tuple(settings.options), False)
        self._server.register_completion_queue(self._queue)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="grpc", daemon=True)
        self._ended = asyncio.Event()
        self._is_stopping = False
        # From here on: touched by the queue's thread alone.
        self._is_shut_down = False
        self._awaited = 0
        self._under_way = 0

    @property
    def hits_thread(self) -> int | None:
        """The queue's, once it is started."""
        return self._thread.ident

    def listen(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Opens a listener, before `start`; returns its port."""
        private = () if credentials is None else (credentials._credentials,)  # type: ignore[attr-defined]
        port: int = self._server.add_http2_port(address.encode(), *private)
        if port == 0:
            message = f"cannot listen on {address}"
            raise RuntimeError(message)
        return port

    async def start(self) -> None:
        """Answers from now on."""
        self._loop = asyncio.get_running_loop()
        sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
        self._server.start()
        for _ in range(CALLS_AWAITED):
            self._server.request_call(self._queue, self._queue, self._accept)
        self._awaited = CALLS_AWAITED
        self._thread.start()
        self._look_at_clock()

    async def stop(self, *, grace_seconds: float) -> None:
        """Takes no new calls, lets those under way end within the grace period; may be called twice."""
        if self._loop is None or self._ended.is_set():
            return
        if not self._is_stopping:
            self._is_stopping = True
            self._server.shutdown(self._queue, self._shut_down)
        if self._looking is not None:
            self._looking.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), grace_seconds)
        if not self._ended.is_set():
            self._server.cancel_all_calls()
            await self._ended.wait()
        self._thread.join()
        # Here and not on the queue's thread: cancelling on a server that is destroyed ends the process.
        self._server.destroy()

    def _run(self) -> None:
        """The queue's thread, until the server is shut down and every call has ended."""
        poll = self._queue.poll
        while not (self._is_shut_down and self._under_way == 0 and self._awaited == 0):
            event = poll(self._tick_at)
            try:
                tag = event.tag
                if tag is not None:
                    tag(event)
                else:
                    self._tick()
            except Exception:  # the thread answers every caller: it must not end
                logger.exception("unexpected error in the gRPC engine")
            # A call lives as long as its last event: let go of it before waiting for the next.
            event = tag = None
        assert self._loop is not None  # noqa: S101 - it was set before this thread was started
        self._loop.call_soon_threadsafe(self._ended.set)

    def _tick(self) -> None:
        """The time has come, and the queue is empty: what clients have sent so far was looked at."""
        self._tick_at = time.time() + TICK_SECONDS  # noqa: TID251 - the core's own clock
        self.places.tick()

    def _look_at_clock(self) -> None:
        """On the loop: once the machine's clock was set back, the next tick would be as far away as that."""
        assert self._loop is not None  # noqa: S101 - `start` has set it
        soon = time.time() + TICK_SECONDS  # noqa: TID251 - the core's own clock
        self._tick_at = min(self._tick_at, soon)
        self._looking = self._loop.call_later(TICK_SECONDS, self._look_at_clock)

    def _shut_down(self, _: Event) -> None:
        self._is_shut_down = True

    def _accept(self, event: Event) -> None:
        """A call has begun: its method is known, its request is not here yet."""
        if not event.success:
            self._awaited -= 1
            return
        try:
            self._server.request_call(self._queue, self._queue, self._accept)
        except ValueError:  # the server is being stopped and takes no more
            self._awaited -= 1
        self._under_way += 1
        method = self._methods.get(event.call_details.method)
        if method is None:
            self.refuse(event.call, _REFUSED_UNKNOWN)
        elif self._under_way > self._max_concurrent_calls and not self.places.has_room(self._under_way):
            self.refuse(event.call, _REFUSED_TOO_MANY)
        elif isinstance(method, UnaryMethod):
            self.places.hold(event.call)
            receive = (cygrpc.ReceiveMessageOperation(NO_FLAGS),)
            event.call.start_server_batch(receive, partial(self._received, event, method))
        else:
            self.places.hold(event.call)
            StreamCall(self, event, method).spawn()

    def _received(self, accepted: Event, method: UnaryMethod, event: Event) -> None:
        """A unary call's request is here: it is answered at once if it can be."""
        request = event.batch_operations[0].message()
        if request is None:
            self.refuse(accepted.call, _REFUSED_NO_REQUEST)
            return
        try:
            begun = method.begin(request)
        except Refused as refused:
            self.refuse(accepted.call, refused)
        except Exception:  # the call must be finished
            logger.exception("unexpected exception from method", extra={"method": method.path})
            self.refuse(accepted.call, REFUSED_DEFECT)
        else:
            if isinstance(begun, Later):
                self.places.let_go(accepted.call)
                UnaryCall(self, accepted, begun).spawn()
            else:
                self.reply(accepted.call, begun)

    def reply_later(self, call: Any, reply: Reply) -> None:
        """As `reply`, where the call has waited for us until now."""
        self.places.hold(call)
        self.reply(call, reply)

    def reply(self, call: Any, reply: Reply) -> None:
        """Answers a unary call, from any thread; every call is finished once."""
        message, trailing_metadata = reply
        operations = (
            BEGIN,
            cygrpc.SendMessageOperation(message, NO_FLAGS),
            cygrpc.SendStatusFromServerOperation(trailing_metadata, _OK, b"", NO_FLAGS),
        )
        call.start_server_batch(operations, partial(self._finished, call))

    def refuse(self, call: Any, refused: Refused, *, has_begun: bool = False) -> None:
        """Ends a call with the status it is refused with, from any thread; instead of `reply`."""
        begin = () if has_begun else (BEGIN,)
        code, details = refused.status.code.value[0], refused.status.details.encode()
        status = cygrpc.SendStatusFromServerOperation(None, code, details, NO_FLAGS)
        call.start_server_batch((*begin, status), partial(self._finished, call))

    def end(self, call: Any, *, has_begun: bool) -> None:
        """Ends a stream with OK; instead of `refuse`."""
        begin = () if has_begun else (BEGIN,)
        status = cygrpc.SendStatusFromServerOperation(None, _OK, b"", NO_FLAGS)
        call.start_server_batch((*begin, status), partial(self._finished, call))

    def opened(self, call: Any) -> None:
        """On the queue's thread: a stream's client has sent something."""
        self.places.open(call)

    def _finished(self, call: Any, _: Event) -> None:
        self._under_way -= 1
        self.places.finished(call)

    def on_loop(self, work: Callable[[], object]) -> None:
        """Has the event loop do something, from the queue's thread."""
        assert self._loop is not None  # noqa: S101 - no event comes before `start`
        self._loop.call_soon_threadsafe(work)
