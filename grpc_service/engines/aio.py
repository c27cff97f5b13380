"""The engine on grpc.aio: all calls on the event loop."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NoReturn, TypeAlias

import grpc

from grpc_service.engines.interface import EngineSettings
from grpc_service.methods import Call, Method, Refused, StreamMethod, UnaryMethod

logger = logging.getLogger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic in its stubs alone


class AioEngine:
    """An `Engine`."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._listeners: list[tuple[str, grpc.ServerCredentials | None]] = []
        self._watch: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._server = _server(settings)

    hits_thread = None
    """The event loop's."""

    def listen(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Opens a listener, before `start`; returns its port."""
        port = _listen(self._server, address, credentials)
        self._listeners.append((f"{address.rpartition(':')[0]}:{port}", credentials))
        return port

    async def start(self) -> None:
        """Answers from now on."""
        await self._server.start()
        self._watch = asyncio.create_task(self._keep_up(), name="grpc")

    async def stop(self, *, grace_seconds: float) -> None:
        """Takes no new calls, lets those under way end within the grace period; may be called twice."""
        self._is_stopping = True
        await self._server.stop(grace_seconds)
        if self._watch is not None:  # not cancelled: that would cancel what the server's stop waits for
            await self._watch

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
            self._server = _server(self._settings)
            for address, credentials in self._listeners:
                _listen(self._server, address, credentials)
            await self._server.start()


def _server(settings: EngineSettings) -> grpc.aio.Server:
    server = grpc.aio.server(options=settings.options, maximum_concurrent_rpcs=settings.max_concurrent_calls)
    server.add_generic_rpc_handlers((_Handlers(settings),))
    return server


def _listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    if credentials is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, credentials)


class _Handlers(grpc.GenericRpcHandler):
    """The methods by their path."""

    def __init__(self, settings: EngineSettings) -> None:
        self._by_path: Mapping[str, Handler] = {method.path: _handler(method) for method in settings.methods}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """What answers this call, or None, which is UNIMPLEMENTED."""
        return self._by_path.get(handler_call_details.method)


def _handler(method: Method) -> Handler:
    if isinstance(method, UnaryMethod):
        return grpc.unary_unary_rpc_method_handler(_unary(method))
    return grpc.stream_stream_rpc_method_handler(_stream(method))


def _unary(method: UnaryMethod) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def handle(request: bytes, context: Context) -> bytes:
        try:
            reply = method.answer_now(request)
            if reply is None:
                reply = await method.answer(request, _call(context))
        except Refused as refused:
            await _abort(context, refused)
        message, trailing_metadata = reply
        if trailing_metadata:
            context.set_trailing_metadata(trailing_metadata)
        return message

    return handle


def _call(context: Context) -> Call:
    remaining: float | None = context.time_remaining()  # None without one, whatever its stubs say
    metadata: Any = context.invocation_metadata()
    return Call(remaining, metadata or ())


def _stream(method: StreamMethod) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]:
    async def handle(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        try:
            async for reply in method.answer(requests):
                yield reply
        except Refused as refused:
            await _abort(context, refused)

    return handle


async def _abort(context: Context, refused: Refused) -> NoReturn:
    await context.abort(refused.status.code, refused.status.details)
    raise AssertionError  # abort raises
