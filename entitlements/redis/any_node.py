"""A connection to whichever node of a Cluster answers: each passes on what is published to any of them."""

import random
from typing import Any, TypeAlias

from redis.asyncio import Connection, SSLConnection

HostPort: TypeAlias = tuple[str, int]


class AnyNodeConnection(Connection):
    """One for `redis.asyncio.ConnectionPool`, which channels-redis makes from the options of its host."""

    def __init__(self, *, nodes: tuple[HostPort, ...], **options: Any) -> None:
        super().__init__(**options)
        self._nodes = random.sample(nodes, len(nodes))  # all processes at one node would be its load

    async def _connect(self) -> None:
        """Dials the first that answers, and begins with that one the next time."""
        for _ in self._nodes[1:]:
            self.host, self.port = self._nodes[0]
            try:
                await super()._connect()  # type: ignore[no-untyped-call]
            except OSError:  # as TimeoutError is
                self._nodes.append(self._nodes.pop(0))
            else:
                return
        self.host, self.port = self._nodes[0]
        await super()._connect()  # type: ignore[no-untyped-call]


class AnyNodeTlsConnection(AnyNodeConnection, SSLConnection):
    """The same over TLS."""
