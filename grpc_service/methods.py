"""What a gRPC method is to the engine that carries it: bytes in, bytes out, or a status."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from entitlements.correlation import Metadata as CallMetadata
from grpc_service.errors import PublicStatus

Metadata: TypeAlias = tuple[tuple[str, bytes], ...]
"""Keys and values; all of them are text."""
Reply: TypeAlias = tuple[bytes, Metadata]
"""What a call is answered: the message, and the metadata that trails it."""


class Call(NamedTuple):
    """What is known of a call besides its request."""

    remaining_seconds: float | None = None
    """Until the caller's deadline; None without one."""
    metadata: CallMetadata = ()
    """As the caller sent it; nothing of it is trusted."""
    peer: str = ""
    """The connection that it came by."""


class Refused(Exception):
    """A call ends with a status other than OK; raised by methods, obeyed by engines."""

    def __init__(self, status: PublicStatus) -> None:
        super().__init__(status)
        self.status = status

    def __str__(self) -> str:
        return f"{self.status.code.name}: {self.status.details}"


AnswerNow: TypeAlias = Callable[[bytes], Reply | None]
Answer: TypeAlias = Callable[[bytes, Call], Awaitable[Reply]]
AnswerUnasked: TypeAlias = Callable[[bytes], Reply]
AnswerStream: TypeAlias = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]


def never_now(_: bytes) -> None:
    """Leaves every call to the event loop."""
    return


@dataclass(slots=True, kw_only=True)
class UnaryMethod:
    """One request, one reply; the ways to it raise `Refused` and nothing else.

    Not frozen: `grpc_service/tap.py` listens to methods that are served.
    """

    path: str
    """As on the wire: `/package.Service/Method`."""
    answer: Answer
    """Answers on the event loop."""
    answer_now: AnswerNow = never_now
    """Answers from any thread without waiting; None: only `answer` can."""
    answer_unasked: AnswerUnasked | None = None
    """Answers without waiting where too many wait already, by a fallback; None: such a call is refused."""


async def answered(method: UnaryMethod, request: bytes, call: Call) -> Reply:
    """The reply by either way; for what stands around a method and wants to see every call."""
    reply = method.answer_now(request)
    return await method.answer(request, call) if reply is None else reply


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMethod:
    """Any number of requests and replies; raises `Refused` to end with another status than OK."""

    path: str
    answer: AnswerStream
    """An async generator, on the event loop; it is closed when the caller goes away."""


Method: TypeAlias = UnaryMethod | StreamMethod
Middleware: TypeAlias = Callable[[UnaryMethod], UnaryMethod]
"""The same method with something done around every call, which then is always answered on the event loop."""
