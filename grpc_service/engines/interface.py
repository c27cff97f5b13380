"""What an engine is to the server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import grpc

from grpc_service.engines.places import Places
from grpc_service.errors import TOO_MANY_CALLS, PublicStatus
from grpc_service.methods import Method

ChannelOptions: TypeAlias = Sequence[tuple[str, int]]

UNKNOWN_METHOD = "the sidecar serves no such method"
TOO_MANY = PublicStatus(grpc.StatusCode.RESOURCE_EXHAUSTED, TOO_MANY_CALLS)
NO_REQUEST = PublicStatus(grpc.StatusCode.UNIMPLEMENTED, "the call ended before its one request")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What every engine is made from."""

    methods: Sequence[Method]
    options: ChannelOptions
    """Channel arguments of gRPC's core."""
    max_concurrent_calls: int
    """One more ends calls that wait for their clients; where there are none, it is RESOURCE_EXHAUSTED."""
    on_ended: Callable[[str, int], None] = lambda _cause, _count: None
    """Counts calls that the engine refused or ended by itself, from any thread."""


class Engine(Protocol):
    """Listens, and carries calls to methods and their answers back; its coroutines belong to one loop."""

    @property
    def hits_thread(self) -> int | None:
        """The thread that answers what memory can; None: the event loop's."""
        ...

    @property
    def places(self) -> Places[Any]:
        """The calls that wait for their clients."""
        ...

    def listen(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Opens a listener, before `start`; returns its port.

        Raises:
            RuntimeError: the address cannot be listened on, or the credentials are none.
        """
        ...

    async def start(self) -> None:
        """Answers from now on."""
        ...

    async def stop(self, *, grace_seconds: float) -> None:
        """Takes no new calls, lets those under way end within the grace period; may be called twice."""
        ...


MakeEngine: TypeAlias = Callable[[EngineSettings], Engine]
