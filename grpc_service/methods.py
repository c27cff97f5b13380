"""What a gRPC method is to the engine that carries it: bytes in, bytes out, or a status."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """A call that was begun and must wait; what was found out of it so far goes along in its functions."""

    answer: Callable[[Call], Awaitable[Reply]]
    """Answers on the event loop."""
    unasked: Callable[[], Reply] | None = None
    """Answers without waiting where too many wait already, by a fallback; None: such a call is refused."""


Begin: TypeAlias = Callable[[bytes], Reply | Later]
Answer: TypeAlias = Callable[[bytes, Call], Awaitable[Reply]]
AnswerStream: TypeAlias = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]


@dataclass(slots=True, kw_only=True)
class UnaryMethod:
    """One request, one reply; `begin` and what it returns raise `Refused` and nothing else.

    Not frozen: `grpc_service/tap.py` listens to methods that are served.
    """

    path: str
    """As on the wire: `/package.Service/Method`."""
    begin: Begin
    """Answers from any thread without waiting, or says how to go on on the event loop."""


def on_loop(answer: Answer) -> Begin:
    """Leaves every call to the event loop."""
    return lambda request: Later(answer=partial(answer, request))


def observed(begin: Begin, note: Callable[[bytes, Reply], None]) -> Begin:
    """The same, of which each request that had a reply is noted, from whatever thread it was answered on."""

    async def answer(later: Later, request: bytes, call: Call) -> Reply:
        reply = await later.answer(call)
        note(request, reply)
        return reply

    def observing(request: bytes) -> Reply | Later:
        begun = begin(request)
        if isinstance(begun, Later):
            return Later(answer=partial(answer, begun, request))
        note(request, begun)
        return begun

    return observing


async def answered(method: UnaryMethod, request: bytes, call: Call) -> Reply:
    """The reply, at once or later; for what stands around a method and wants to see every call."""
    begun = method.begin(request)
    return await begun.answer(call) if isinstance(begun, Later) else begun


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMethod:
    """Any number of requests and replies; raises `Refused` to end with another status than OK."""

    path: str
    answer: AnswerStream
    """An async generator, on the event loop; it is closed when the caller goes away."""


Method: TypeAlias = UnaryMethod | StreamMethod
Middleware: TypeAlias = Callable[[UnaryMethod], UnaryMethod]
"""The same method with something done around every call, which then is always answered on the event loop."""
