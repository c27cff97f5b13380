"""GraphQL over WebSocket: one connection of the graphql-transport-ws protocol, from upgrade to close."""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web
from graphql import OperationDefinitionNode

from emulator.cloud import Cloud
from emulator.counters import ReceivedRequest
from emulator.faults import INVALID_KEY_REASON, THROTTLED_REASON, Fault, FaultKind, Transport
from emulator.graphql_ws_messages import Subscription, parsed, payload_of, selected
from emulator.http_answers import answer, headers_of_interest, pause, reset_connection
from emulator.operations import Operations
from emulator.schema import (
    CheckedDocument,
    check_document,
    error_json,
    run,
    subscription_field,
)
from emulator.state import FeedEvent
from emulator.usage import Json

SUBPROTOCOL = "graphql-transport-ws"
MAX_QUEUED_FRAMES = 10_000
MAX_SUBSCRIPTIONS = 1_000
MAX_FRAME_BYTES = 1_000_000
INIT_TIMEOUT_SECONDS = 3.0
CLOSE_TIMEOUT_SECONDS = 1.0
GARBAGE_FRAME = '{"type": "next", "payload": '

BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, INIT_TIMEOUT = 4400, 4401, 4403, 4408
NOT_ACCEPTABLE, DUPLICATE_ID, TOO_MANY_INITS, INTERNAL_ERROR = 4406, 4409, 4429, 4500

_UPGRADE_FAULTS = frozenset({FaultKind.DOWN, FaultKind.HANG, FaultKind.SLOW, FaultKind.STATUS})
_CONNECTION_FAULTS = frozenset(
    {FaultKind.NO_ACK, FaultKind.SILENT, FaultKind.THROTTLED, FaultKind.BAD_KEY, FaultKind.GARBAGE}
)


async def handle_ws(request: web.Request, cloud: Cloud) -> web.StreamResponse:
    """Serve one WebSocket, from its upgrade request to its end."""
    fault = cloud.faults.take(Transport.WS, kinds=_UPGRADE_FAULTS | _CONNECTION_FAULTS)
    received = ReceivedRequest(
        kind="ws:connection",
        at_ms=cloud.now_ms(),
        raw_path=request.raw_path,
        headers=headers_of_interest(request),
    )
    cloud.record(received, fault=fault)
    if fault is not None and fault.kind is FaultKind.SLOW:
        await pause(cloud, fault.delay_ms)
    elif fault is not None and fault.kind in _UPGRADE_FAULTS:
        return await answer(request, cloud, Transport.WS, fault=fault, work=web.Response)
    socket = web.WebSocketResponse(
        protocols=(SUBPROTOCOL,),
        autoping=False,
        autoclose=False,
        max_msg_size=MAX_FRAME_BYTES,
        timeout=CLOSE_TIMEOUT_SECONDS,
    )
    await socket.prepare(request)
    await FeedConnection(socket, request, cloud, fault=fault).serve()
    return socket


@dataclass(frozen=True, slots=True)
class _Close:
    code: int
    reason: str


class FeedConnection:
    """One WebSocket. Everything it sends goes through one queue, so that frames keep their order."""

    def __init__(
        self, socket: web.WebSocketResponse, request: web.Request, cloud: Cloud, *, fault: Fault | None
    ) -> None:
        self._socket = socket
        self._request = request
        self._cloud = cloud
        self._fault = fault
        self._silent = fault is not None and fault.kind is FaultKind.SILENT
        self._initialised = False
        self._acknowledged = False
        self._subscriptions: dict[str, Subscription] = {}
        self._frames: asyncio.Queue[str | bytes | _Close] = asyncio.Queue(MAX_QUEUED_FRAMES)

    async def serve(self) -> None:
        """Run the connection until either side ends it."""
        if self._socket.ws_protocol != SUBPROTOCOL:
            self.close(NOT_ACCEPTABLE, "Subprotocol not acceptable")
        loop = asyncio.get_running_loop()
        init_timer = loop.call_later(INIT_TIMEOUT_SECONDS, self._end_uninitialised)
        writer = loop.create_task(self._write())
        try:
            while not self._socket.closed and await self._take(await self._socket.receive()):
                pass
        finally:
            init_timer.cancel()
            self._cloud.feed.leave(self)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer

    # What the feed asks of it

    def fields(self) -> list[str]:
        """List the fields subscribed to, once per subscription."""
        return [subscription.field for subscription in self._subscriptions.values()]

    def deliver(self, event: FeedEvent) -> None:
        """Send an event to the subscriptions of its field, each with what it selected."""
        for subscription_id, subscription in self._subscriptions.items():
            if subscription.field == event.field:
                payload = selected(subscription, event)
                self._send({"id": subscription_id, "type": "next", "payload": payload})

    def drop(self) -> None:
        """Cut the connection without a close frame."""
        reset_connection(self._request.transport)

    def silence(self) -> None:
        """Stop answering anything, for good, with the connection left open."""
        self._silent = True

    def close(self, code: int, reason: str) -> None:
        """Close the connection with a code and reason, after what is already on its way."""
        self._queue(_Close(code, reason))

    def send_raw(self, text: str) -> None:
        """Send any text frame."""
        self._queue(text)

    # Sending

    def _send(self, message: Json) -> None:
        garbled = self._fault is not None and self._fault.kind is FaultKind.GARBAGE and self._acknowledged
        self._queue(GARBAGE_FRAME if garbled else json.dumps(message, ensure_ascii=False))

    def _queue(self, frame: str | bytes | _Close) -> None:
        if self._silent:
            return
        try:
            self._frames.put_nowait(frame)
        except asyncio.QueueFull:
            self.drop()

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                match await self._frames.get():
                    case str(text):
                        await self._socket.send_str(text)
                    case bytes(payload):
                        await self._socket.pong(payload)
                    case _Close(code, reason):
                        await self._socket.close(code=code, message=reason.encode())
                        return

    # Receiving

    async def _take(self, message: WSMessage) -> bool:
        if message.type in {WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR}:
            return False
        if self._silent:
            return True
        if message.type is WSMsgType.CLOSE:
            await self._socket.close(code=message.data or WSCloseCode.OK)
            return False
        if message.type is WSMsgType.PING:
            self._queue(bytes(message.data))
        elif message.type is WSMsgType.TEXT:
            self._obey(parsed(message.data))
        elif message.type is WSMsgType.BINARY:
            self.close(BAD_REQUEST, "Invalid message received")
        return True

    def _obey(self, message: Json) -> None:
        match message:
            case {"type": "connection_init"}:
                self._initialise(message.get("payload"))
            case {"type": "ping"}:
                self._send({"type": "pong"} | payload_of(message))
            case {"type": "pong"}:
                pass
            case {"type": "subscribe", "id": str(given), "payload": {"query": str(query)} as payload} if (
                given
            ):
                self._subscribe(given, query, payload)
            case {"type": "complete", "id": str(given)}:
                self._subscriptions.pop(given, None)
                self._cloud.feed.changed()
            case _:
                self.close(BAD_REQUEST, "Invalid message received")

    def _initialise(self, payload: Any) -> None:
        if self._initialised:
            self.close(TOO_MANY_INITS, "Too many initialisation requests")
            return
        self._initialised = True
        kind = None if self._fault is None else self._fault.kind
        headers = payload.get("headers") if isinstance(payload, dict) else None
        if kind is FaultKind.THROTTLED:
            self._close_by_fault(INTERNAL_ERROR, THROTTLED_REASON)
        elif kind is FaultKind.BAD_KEY or not self._cloud.accepts_key(headers):
            self._close_by_fault(FORBIDDEN, INVALID_KEY_REASON)
        elif kind is not FaultKind.NO_ACK:
            self._send({"type": "connection_ack"})
            self._acknowledged = True
            self._cloud.feed.join(self)

    def _close_by_fault(self, code: int, reason: str) -> None:
        fault = self._fault
        given_code = None if fault is None else fault.close_code
        given_reason = None if fault is None else fault.close_reason
        self.close(
            code if given_code is None else given_code, reason if given_reason is None else given_reason
        )

    def _end_uninitialised(self) -> None:
        if not self._initialised:
            self.close(INIT_TIMEOUT, "Connection initialisation timeout")

    def _subscribe(self, given: str, query: str, payload: Json) -> None:
        if not self._acknowledged:
            self.close(UNAUTHORIZED, "Unauthorized")
            return
        if given in self._subscriptions:
            self.close(DUPLICATE_ID, f"Subscriber for {given} already exists")
            return
        checked, name = check_document(query), payload.get("operationName")
        operation = checked.operation(name if isinstance(name, str) else None)
        errors = self._subscription_errors(checked, operation)
        if errors or operation is None:
            self._send({"id": given, "type": "error", "payload": errors})
            return
        self._start(given, checked, operation, payload)

    def _subscription_errors(
        self, checked: CheckedDocument, operation: OperationDefinitionNode | None
    ) -> list[Json]:
        if checked.errors:
            return list(checked.errors)
        if operation is None:
            return [error_json("Must provide an operation that the document holds", "BadUserInput")]
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            return [error_json(f"At most {MAX_SUBSCRIPTIONS} subscriptions", "BadUserInput")]
        for called in (operation.name.value if operation.name else None, subscription_field(operation)):
            fault = called and self._cloud.faults.take(
                Transport.WS, kinds={FaultKind.ERROR}, operation=called
            )
            if fault:
                return [error_json(fault.message, fault.code)]
        return []

    def _start(
        self, given: str, checked: CheckedDocument, operation: OperationDefinitionNode, payload: Json
    ) -> None:
        name, variables = payload.get("operationName"), payload.get("variables")
        field = subscription_field(operation)
        if field is None:
            result = run(
                checked, root=Operations(self._cloud.state).root(), variables=variables, operation=name
            )
            self._send({"id": given, "type": "next", "payload": result})
            self._send({"id": given, "type": "complete"})
            return
        self._subscriptions[given] = Subscription(
            field=field, document=checked, operation=name, variables=variables
        )
        kind = f"ws:subscription:{field}"
        self._cloud.record(ReceivedRequest(kind=kind, at_ms=self._cloud.now_ms()), fault=None)
        self._cloud.feed.changed()
