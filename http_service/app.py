"""The ASGI application: a token, origins and a bound for the body, then the door that a path belongs to."""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

import grpc

from entitlements import metrics
from entitlements.background import awaited, ended
from entitlements.domain.token_bucket import Rate, TokenBucket
from grpc_service.errors import UNEXPECTED, PublicStatus
from http_service.bounds import refused
from http_service.messages import Door, Headers, Request, Response, Stream, json_bytes

logger = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

NO_TOKEN = "the Authorization header must be Bearer and the token of SIDECAR_HTTP_TOKEN_FILE"  # noqa: S105 - a sentence
OK = 200
_CORS_SECONDS = b"7200"
MISTAKES = Rate(burst=200, per_second=50)
"""Requests that no working client sends are answered at once as often as this, by this process."""
HELD_SECONDS = 1.0
"""The answer to one more waits: who asks again at once is thereby slow, and takes nothing from others."""
_OF_MISTAKES = frozenset((400, 401, 405, 413, 415))
"""A flag that is not there is no mistake, but an answer (404)."""
_NOT_FOUND = Response(404, json_bytes({"message": "nothing is served at this path"}))
_TOO_LARGE = PublicStatus(
    grpc.StatusCode.RESOURCE_EXHAUSTED, "the body is larger than SIDECAR_MAX_MESSAGE_BYTES"
)
_DEFECT = PublicStatus(grpc.StatusCode.INTERNAL, UNEXPECTED)


class HttpApi:
    """An ASGI application for HTTP alone."""

    def __init__(
        self,
        doors: Iterable[Door],
        *,
        token: str | None,
        origins: Iterable[str],
        max_body_bytes: int,
        monotonic: Callable[[], float],
    ) -> None:
        """Serves nothing yet.

        Args:
            doors: each has paths of its own.
            token: who calls must have it (SIDECAR_HTTP_TOKEN_FILE); None: everybody may.
            origins: pages of these may call from a browser (SIDECAR_HTTP_ORIGINS).
            max_body_bytes: a larger body is refused (SIDECAR_MAX_MESSAGE_BYTES).
            monotonic: of the clock.
        """
        self._doors = tuple(doors)
        self._token = None if token is None else token.encode()
        self._origins = frozenset(origins)
        self._max_body_bytes = max_body_bytes
        self._mistakes = TokenBucket(MISTAKES, monotonic)

    async def take_token(self, token: str) -> None:
        """Asks for this token from now on."""
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = _request(scope)
        door = next((door for door in self._doors if door.serves(request.path)), None)
        response = await self._answered(door, request, receive)
        if (door is None or response.status in _OF_MISTAKES) and not self._mistakes.try_take():
            refused("too_many_mistakes")
            await asyncio.sleep(HELD_SECONDS)
        metrics.HTTP_API_REQUESTS.labels(door.name if door else "none", str(response.status)).inc()
        if response.stream is None:
            await _send(send, response, self._cors(request))
        else:
            await _send_stream(send, receive, response, response.stream, self._cors(request))

    async def _answered(self, door: Door | None, request: Request, receive: Receive) -> Response:
        origin = request.headers.get("origin")
        if request.verb == "OPTIONS" and origin in self._origins:
            return Response(204)  # what a browser asks before: it sends no token
        if door is None:
            return _NOT_FOUND
        if not self._is_allowed(request):
            refused("no_token")
            response = door.refusal(request, PublicStatus(grpc.StatusCode.UNAUTHENTICATED, NO_TOKEN))
            return _closing(response, (b"www-authenticate", b"Bearer"))
        body = await self._body(request, receive)
        if body is None:
            refused("body_too_large")
            return _closing(door.refusal(request, _TOO_LARGE))
        try:
            return await door.answer(request._replace(body=body))
        except Exception:  # the caller must be answered, and its connection live on
            logger.exception("unexpected exception from door", extra={"door": door.name})
            return door.refusal(request, _DEFECT)

    def _is_allowed(self, request: Request) -> bool:
        if self._token is None:
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token)

    async def _body(self, request: Request, receive: Receive) -> bytes | None:
        """The body, or None once it is too large."""
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length[:20]) > self._max_body_bytes:
            return None
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self._max_body_bytes:
                return None
            if not message.get("more_body"):
                return bytes(body)

    def _cors(self, request: Request) -> Headers:
        """What lets a browser's page of a named origin read the answer; nothing for all others."""
        origin = request.headers.get("origin")
        if not self._origins:
            return ()
        if origin not in self._origins:
            return ((b"vary", b"Origin"),)
        return (
            (b"vary", b"Origin"),
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-methods", b"GET, POST"),
            (
                b"access-control-allow-headers",
                b"Authorization, Connect-Protocol-Version, Connect-Timeout-Ms, "
                b"Content-Type, If-None-Match, Last-Event-ID, X-Request-Id",
            ),
            (
                b"access-control-expose-headers",
                b"ETag, Trailer-Stigg-Source, Trailer-Stigg-State, Trailer-Stigg-Age-Ms",
            ),
            (b"access-control-max-age", _CORS_SECONDS),
        )


def _request(scope: Scope) -> Request:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    peer = ":".join(map(str, scope.get("client") or ()))
    return Request(scope["method"], scope["path"], scope["query_string"], headers, peer=peer)


def _closing(response: Response, *headers: tuple[bytes, bytes]) -> Response:
    """The same, after which the connection ends: what is still sent of the request is not read."""
    return response._replace(headers=(*response.headers, *headers, (b"connection", b"close")))


async def _send(send: Send, response: Response, more: Headers) -> None:
    headers = [
        (b"content-length", b"%d" % len(response.body)),
        *response.headers,
        *more,
    ]
    if response.body or response.status == OK:  # an empty message of protobuf has a type, too
        headers.append((b"content-type", response.content_type.encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _send_stream(
    send: Send, receive: Receive, response: Response, stream: Stream, more: Headers
) -> None:
    """Sends each part as it comes, for as long as the client is there."""
    headers = [(b"content-type", response.content_type.encode()), *response.headers, *more]

    async def parts() -> None:
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        async for part in stream:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    sending = awaited(parts(), name="http-stream")
    leaving = awaited(_left(receive), name="http-stream")
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(sending, leaving)
        await stream.aclose()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
