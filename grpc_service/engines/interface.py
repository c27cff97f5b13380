"""What an engine is to the server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import grpc

from grpc_service.methods import Method

ChannelOptions: TypeAlias = Sequence[tuple[str, int]]

UNKNOWN_METHOD = "the sidecar serves no such method"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What every engine is made from."""

    methods: Sequence[Method]
    options: ChannelOptions
    """Channel arguments of gRPC's core."""
    max_concurrent_calls: int
    """One more call is RESOURCE_EXHAUSTED."""


class Engine(Protocol):
    """Listens, and carries calls to methods and their answers back; its coroutines belong to one loop."""

    @property
    def hits_thread(self) -> int | None:
        """The thread that answers what memory can; None: the event loop's."""
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
