"""Changes as Server-Sent Events, in the form of OFREP's event streams (docs/http.md)."""

import asyncio
import json
from itertools import count

from entitlements import metrics
from entitlements.domain.errors import Overloaded
from entitlements.service.change_notifier import ChangeNotifier, Watcher
from grpc_service.errors import PublicStatus
from http_service.messages import HTTP_STATUSES, MAX_PARAMETERS, Request, Response, json_bytes

PATH = "/v1/watch"
EVENT_STREAM = "text/event-stream"
KEEP_ALIVE_SECONDS = 15.0
"""So often an idle stream says that it is there: proxies and balancers close what says nothing."""
RETRY_MS = 1_000
"""When a client whose stream ended connects anew."""
RETRY_AFTER_SECONDS = b"5"
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would keep events until there are many
)
_EVENT = json.dumps({"type": "refetchEvaluation"})


class _Events:
    """The bytes of one stream."""

    def __init__(self, changes: ChangeNotifier, watcher: Watcher) -> None:
        self._changes = changes
        self._watcher = watcher
        self._has_begun = False
        self._ids = count(1)

    def __aiter__(self) -> "_Events":
        return self

    async def __anext__(self) -> bytes:
        if not self._has_begun:
            self._has_begun = True
            return b"retry: %d\n: watching\n\n" % RETRY_MS
        try:
            async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                if not await self._watcher.changed():
                    raise StopAsyncIteration
        except TimeoutError:
            return b": still watching\n\n"
        metrics.WATCH_EVENTS.inc()
        return f"id: {next(self._ids)}\ndata: {_EVENT}\n\n".encode()

    async def aclose(self) -> None:
        """Nobody reads any more."""
        self._changes.forget(self._watcher)


class WatchDoor:
    """A `Door`."""

    name = "watch"

    def __init__(self, changes: ChangeNotifier) -> None:
        self._changes = changes

    def serves(self, path: str) -> bool:
        """True for what is this door's."""
        return path == PATH

    async def answer(self, request: Request) -> Response:
        """A stream that lasts until the client leaves or this process ends."""
        if request.verb != "GET":
            return Response(405, _message("the HTTP method must be GET"), headers=((b"allow", b"GET"),))
        try:
            parameters = request.parameters()
        except ValueError:
            return Response(400, _message(f"the query must have at most {MAX_PARAMETERS} parameters"))
        customer_id = parameters.get("customer")
        if not customer_id:
            return Response(400, _message("customer must be the id of a customer, as in ?customer=…"))
        try:
            watcher = self._changes.watch(customer_id, parameters.get("resource") or None)
        except Overloaded as error:
            return Response(429, _message(str(error)), headers=((b"retry-after", RETRY_AFTER_SECONDS),))
        if "last-event-id" in request.headers:  # nobody knows what it missed
            watcher.wake()
        return Response(
            200, content_type=EVENT_STREAM, headers=_HEADERS, stream=_Events(self._changes, watcher)
        )

    def refusal(self, _: Request, status: PublicStatus) -> Response:
        """A sentence, with HTTP's status."""
        return Response(HTTP_STATUSES[status.code], _message(status.details))


def _message(text: str) -> bytes:
    return json_bytes({"message": text})
