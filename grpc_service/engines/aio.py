"""The engine on grpc.aio: all calls on the event loop."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NoReturn, TypeAlias

import grpc

from entitlements.background import awaited
from grpc_service.engines.interface import NO_REQUEST, TOO_MANY, EngineSettings
from grpc_service.engines.places import TICK_SECONDS, Places
from grpc_service.errors import PublicStatus
from grpc_service.methods import Call, Later, Method, Refused, StreamMethod, UnaryMethod

logger = logging.getLogger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic in its stubs alone


class AioEngine:
    """An `Engine`."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._listeners: list[tuple[str, grpc.ServerCredentials | None]] = []
        self._watch: asyncio.Task[None] | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._handlers = _Handlers(settings)
        self._server = self._new_server()

    hits_thread = None
    """The event loop's."""

    @property
    def places(self) -> Places[Any]:
        """The calls that wait for their clients."""
        return self._handlers.places

    def listen(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Opens a listener, before `start`; returns its port."""
        port = _listen(self._server, address, credentials)
        self._listeners.append((f"{address.rpartition(':')[0]}:{port}", credentials))
        return port

    async def start(self) -> None:
        """Answers from now on."""
        await self._server.start()
        self._watch = awaited(self._keep_up(), name="grpc")
        self._tick()

    async def stop(self, *, grace_seconds: float) -> None:
        """Takes no new calls, lets those under way end within the grace period; may be called twice."""
        self._is_stopping = True
        if self._ticking is not None:
            self._ticking.cancel()
        await self._server.stop(grace_seconds)
        if self._watch is not None:  # not cancelled: that would cancel what the server's stop waits for
            await self._watch

    def _tick(self) -> None:
        self._ticking = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        self.places.tick()

    def _new_server(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=self._settings.options)
        server.add_generic_rpc_handlers((self._handlers,))
        return server

    async def _keep_up(self) -> None:
        """Puts another server in the place of one that ended by itself.

        grpc.aio's ends over a single call whose path is no UTF-8, and the process would live on without it.
        """
        while True:
            try:
                await self._server.wait_for_termination()
            except UnicodeDecodeError:
                logger.error("a call's path was no text, which ends grpc.aio's server: it is started again")  # noqa: TRY400
            else:
                return
            if self._is_stopping:
                return
            self._server = self._new_server()
            for address, credentials in self._listeners:
                _listen(self._server, address, credentials)
            await self._server.start()


def _listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    if credentials is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, credentials)


class _ClientCall:
    """A call as `Places` knows it."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.peer: str = context.peer()
        self.limit: asyncio.Timeout | None = None
        """While it is there, the call can be ended by a status."""
        self.details = ""
        """Why it was ended; empty: it was not."""

    @asynccontextmanager
    async def endable(self) -> AsyncIterator[None]:
        """While entered, `end` ends what is awaited within, and refuses the call."""
        try:
            async with asyncio.timeout(None) as self.limit:
                yield
        except TimeoutError:
            if not self.details:
                raise
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            raise Refused(PublicStatus(code, self.details)) from None
        finally:
            self.limit = None


class _Handlers(grpc.GenericRpcHandler):
    """The methods by their path, and the calls that are under way.

    A unary method's one request is read here, as the first of a stream: grpc.aio would wait for it unseen.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._by_path: Mapping[str, Handler] = {
            method.path: self._handler(method) for method in settings.methods
        }
        self._max_concurrent_calls = settings.max_concurrent_calls
        self._under_way = 0
        self.places: Places[_ClientCall] = Places(
            max_calls=settings.max_concurrent_calls,
            peer_of=lambda call: call.peer,
            end=self._end,
            on_ended=settings.on_ended,
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """What answers this call, or None, which is UNIMPLEMENTED."""
        return self._by_path.get(handler_call_details.method)

    def _end(self, call: _ClientCall, details: str) -> None:
        call.details = details
        if call.limit is not None:
            call.limit.reschedule(asyncio.get_running_loop().time())
        # Else its reply and its status are the core's, and grpc.aio has no way to take them back: its
        # connection is cut if it does not end.

    def _begun(self, context: Context) -> _ClientCall:
        call = _ClientCall(context)
        self._under_way += 1
        done: Any = partial(self._finished, call)  # its stubs want a name for the argument
        context.add_done_callback(done)
        if self._under_way > self._max_concurrent_calls and not self.places.has_room(self._under_way):
            raise Refused(TOO_MANY)
        self.places.hold(call)
        return call

    def _finished(self, call: _ClientCall, _: object) -> None:
        self._under_way -= 1
        self.places.finished(call)

    def _handler(self, method: Method) -> Handler:
        if isinstance(method, UnaryMethod):
            return grpc.stream_unary_rpc_method_handler(self._unary(method))
        return grpc.stream_stream_rpc_method_handler(self._stream(method))

    def _unary(self, method: UnaryMethod) -> Callable[[object, Context], Awaitable[bytes]]:
        async def handle(_: object, context: Context) -> bytes:
            try:
                call = self._begun(context)
                request = await self._request(call)
                begun = method.begin(request)
                reply = await begun.answer(_call(context)) if isinstance(begun, Later) else begun
            except Refused as refused:
                await _abort(context, refused)
            self.places.hold(call)
            message, trailing_metadata = reply
            if trailing_metadata:
                context.set_trailing_metadata(trailing_metadata)
            return message

        return handle

    async def _request(self, call: _ClientCall) -> bytes:
        async with call.endable():
            request = await call.context.read()
        self.places.let_go(call)
        if isinstance(request, bytes):
            return request
        raise Refused(NO_REQUEST)

    def _stream(self, method: StreamMethod) -> Callable[[AsyncIterator[bytes], Context], Awaitable[None]]:
        async def handle(requests: AsyncIterator[bytes], context: Context) -> None:
            async def noticed(call: _ClientCall) -> AsyncIterator[bytes]:
                async for request in requests:
                    self.places.open(call)
                    yield request

            try:
                call = self._begun(context)
                async with call.endable():
                    async for reply in method.answer(noticed(call)):
                        await context.write(reply)
            except Refused as refused:
                await _abort(context, refused)

        return handle


def _call(context: Context) -> Call:
    remaining: float | None = context.time_remaining()  # None without one, whatever its stubs say
    metadata: Any = context.invocation_metadata()
    return Call(remaining, metadata or (), context.peer())


async def _abort(context: Context, refused: Refused) -> NoReturn:
    await context.abort(refused.status.code, refused.status.details)
    raise AssertionError  # abort raises
