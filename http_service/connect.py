"""The Connect protocol, unary (https://connectrpc.com/docs/protocol): HTTP ↔ the bytes of a gRPC method."""

import asyncio
import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.message import DecodeError, Message

from grpc_service.errors import UNREADABLE, PublicStatus
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.methods import Call, Refused, Reply, UnaryMethod, answered
from http_service.messages import HTTP_STATUSES, JSON, Headers, Request, Response, json_bytes

PROTO = "application/proto"
_TYPES = {"json": JSON, "proto": PROTO}
PROTOCOL_VERSION = "1"
MAX_TIMEOUT_DIGITS = 10
MAX_CACHED_BYTES = 2048
"""A larger message is translated anew each time, so that what is remembered stays small."""
CACHED_MESSAGES = 2048
MAX_SENTENCE = 300
DEADLINE_PASSED = "the deadline passed before an answer was there"
_READS = "Get"
"""How the names of methods without side effects begin; only those are answered to GET."""

Code: TypeAlias = grpc.StatusCode


@dataclass(frozen=True, slots=True, kw_only=True)
class _Procedure:
    """One method, and the messages it takes and gives."""

    method: UnaryMethod
    request_type: type[Message]
    response_type: type[Message]
    is_read: bool


class ConnectDoor:
    """A `Door`."""

    name = "connect"

    def __init__(self, methods: Iterable[UnaryMethod]) -> None:
        """Serves nothing yet.

        Args:
            methods: as gRPC serves them, with all that is done around a call.
        """
        by_path = {method.path: method for method in methods}
        service = pb.DESCRIPTOR.services_by_name["SidecarService"]
        self._prefix = f"/{service.full_name}/"
        self._procedures = {
            path: _Procedure(
                method=by_path[path],
                request_type=message_factory.GetMessageClass(each.input_type),
                response_type=message_factory.GetMessageClass(each.output_type),
                is_read=each.name.startswith(_READS),
            )
            for each in service.methods
            if (path := f"{self._prefix}{each.name}") in by_path
        }

    def serves(self, path: str) -> bool:
        """True for what is this door's."""
        return path.startswith(self._prefix)

    async def answer(self, request: Request) -> Response:
        """Translates, calls, translates back."""
        procedure = self._procedures.get(request.path)
        if procedure is None:
            return _error(
                Code.UNIMPLEMENTED, f"{request.path[:MAX_SENTENCE]} is not a method of this service"
            )
        verbs = ("GET", "POST") if procedure.is_read else ("POST",)
        if request.verb not in verbs:
            response = _error(Code.UNIMPLEMENTED, f"the HTTP method must be {' or '.join(verbs)}")
            return response._replace(status=405, headers=((b"allow", ", ".join(verbs).encode()),))
        try:
            codec, message = _from_query(request) if request.verb == "GET" else _from_body(request)
            encoded = message if codec == PROTO else _encoded(procedure.request_type, message)
            reply = await _called(procedure, encoded, _call(request))
        except _NotSupported:
            return Response(415, headers=((b"accept-post", f"{JSON}, {PROTO}".encode()),))
        except Refused as refused:
            if isinstance(refused.__cause__, DecodeError):
                return _error(Code.INVALID_ARGUMENT, UNREADABLE)
            return self.refusal(request, refused.status)
        body, provenance = reply
        if codec != PROTO:
            body = _decoded(procedure.response_type, body)
        return Response(200, body, codec, _trailers(provenance))

    def refusal(self, _: Request, status: PublicStatus) -> Response:
        """The protocol's error as JSON."""
        return _error(status.code, status.details)


class _NotSupported(Exception):
    """A codec that the protocol has and this service does not."""


def _error(code: Code, message: str) -> Response:
    name = "canceled" if code is Code.CANCELLED else code.name.lower()
    return Response(HTTP_STATUSES[code], json_bytes({"code": name, "message": message}))


def _invalid(sentence: str) -> Refused:
    return Refused(PublicStatus(Code.INVALID_ARGUMENT, sentence[:MAX_SENTENCE]))


def _from_body(request: Request) -> tuple[str, bytes]:
    codec = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if codec not in _TYPES.values():
        raise _NotSupported
    version = request.headers.get("connect-protocol-version", PROTOCOL_VERSION)
    if version != PROTOCOL_VERSION:
        raise _invalid("Connect-Protocol-Version must be 1")
    _check_coding(request.headers.get("content-encoding", ""))
    return codec, request.body


def _from_query(request: Request) -> tuple[str, bytes]:
    try:
        parameters = request.parameters()
    except ValueError:
        raise _invalid("the query has too many parameters") from None
    if "encoding" not in parameters or "message" not in parameters:
        raise _invalid("the query must have encoding and message")
    codec = _TYPES.get(parameters["encoding"])
    if codec is None:
        raise _NotSupported
    if parameters.get("connect", f"v{PROTOCOL_VERSION}") != f"v{PROTOCOL_VERSION}":
        raise _invalid("connect must be v1")
    _check_coding(parameters.get("compression", ""))
    text = parameters["message"]
    if parameters.get("base64") != "1":
        return codec, text.encode()
    return codec, _from_base64(text)


def _from_base64(text: str) -> bytes:
    """Of the URL-safe alphabet, with padding or without."""
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("message must be URL-safe base64 where base64=1") from None


def _check_coding(coding: str) -> None:
    if coding.lower() not in {"", "identity"}:
        raise Refused(PublicStatus(Code.UNIMPLEMENTED, "the message must not be compressed: identity alone"))


def _call(request: Request) -> Call:
    text = request.headers.get("connect-timeout-ms")
    if text is None:
        return Call(None, request.metadata(), request.peer)
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_TIMEOUT_DIGITS):
        raise _invalid("Connect-Timeout-Ms must be a number of milliseconds of at most 10 digits")
    return Call(int(text) / 1000, request.metadata(), request.peer)


async def _called(procedure: _Procedure, message: bytes, call: Call) -> Reply:
    """The reply, at once where memory has it; a read whose time is over ends as the protocol says.

    A write keeps to its deadline itself: it alone knows whether what it reported may have arrived.
    """
    try:
        async with asyncio.timeout(call.remaining_seconds if procedure.is_read else None):
            return await answered(procedure.method, message, call)
    except TimeoutError:
        raise Refused(PublicStatus(Code.DEADLINE_EXCEEDED, DEADLINE_PASSED)) from None


def _trailers(provenance: Iterable[tuple[str, bytes]]) -> Headers:
    """Trailing metadata are headers with a prefix in this protocol."""
    return tuple((b"trailer-" + key.encode(), value) for key, value in provenance)


def _encoded(request_type: type[Message], text: bytes) -> bytes:
    """The request that JSON says."""
    if len(text) > MAX_CACHED_BYTES:
        return _encode(request_type, text)
    return _encode_cached(request_type, text)  # type: ignore[arg-type]  # its stubs say otherwise: a class is hashable


def _decoded(response_type: type[Message], message: bytes) -> bytes:
    """The reply as JSON."""
    if len(message) > MAX_CACHED_BYTES:
        return _decode(response_type, message)
    return _decode_cached(response_type, message)  # type: ignore[arg-type]  # the same


def _encode(request_type: type[Message], text: bytes) -> bytes:
    name = request_type.DESCRIPTOR.name
    try:
        message = json_format.Parse(text, request_type())
    except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        sentence = f"the request must be the JSON of {name}: {error}"
        raise _invalid(sentence) from None
    return message.SerializeToString()


def _decode(response_type: type[Message], message: bytes) -> bytes:
    return json_format.MessageToJson(
        response_type.FromString(message), indent=None, ensure_ascii=False
    ).encode()


# Both are functions of their bytes alone, so what is remembered is never out of date.
_encode_cached = lru_cache(CACHED_MESSAGES)(_encode)
_decode_cached = lru_cache(CACHED_MESSAGES)(_decode)
