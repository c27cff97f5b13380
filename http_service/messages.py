"""What a door is asked and answers: HTTP without its connection."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl

import grpc

from grpc_service.errors import PublicStatus

JSON = "application/json"
Headers = tuple[tuple[bytes, bytes], ...]


HTTP_STATUSES = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}
"""The Connect protocol's table, Error codes."""
MAX_PARAMETERS = 100
"""Of one query."""


class Request(NamedTuple):
    """One request, whole."""

    verb: str
    path: str
    """Percent-decoded."""
    query: bytes
    headers: Mapping[str, str]
    """By their name in lower case; of several of one name the last."""
    body: bytes = b""
    peer: str = ""
    """The connection that it came by."""

    def parameters(self) -> dict[str, str]:
        """What the query says, of several of one name the last; raises ValueError past MAX_PARAMETERS."""
        text = self.query.decode("latin-1")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        return dict(pairs)

    def metadata(self) -> Sequence[tuple[str, str]]:
        """What the call is accompanied by, for log lines and traces."""
        return tuple(self.headers.items())


class Stream(Protocol):
    """The body of an answer that goes on until its end, or until nobody reads any more."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Each part as soon as it is there."""
        ...

    async def aclose(self) -> None:
        """Nobody reads any more; called once, also where nothing was read."""
        ...


class Response(NamedTuple):
    """One answer, whole but for its stream."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Headers = ()
    stream: Stream | None = None
    """What follows instead of the body."""


class Door(Protocol):
    """One standard: translates to the methods and back, decides nothing."""

    name: str
    """The label of its requests in the metrics."""

    def serves(self, path: str) -> bool:
        """True for what is this door's."""
        ...

    async def answer(self, request: Request) -> Response:
        """The answer, whatever the request is."""
        ...

    def refusal(self, request: Request, status: PublicStatus) -> Response:
        """How the standard says that a request is refused."""
        ...


def json_bytes(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
