"""What the sidecars of a run have open in the end that they did not have open at its beginning."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from tests.chaos.records import Resources

POOL = 8
"""A busy process may have opened so many connections to the cloud or to Redis, and threads for them."""
ENDS = 2
"""Of the one connection by which a process compares its answers with another's both are counted."""
CLIENT, PEER = "client", "peer"
"""What a socket is for: a caller's, or one instance's that asks another."""


class Connection(Protocol):
    """A socket as psutil tells of it."""

    @property
    def laddr(self) -> Any: ...

    @property
    def raddr(self) -> Any: ...


def counted(sockets: Iterable[Connection], uses: Mapping[int, str]) -> Counter[str]:
    """How many there are for what, by the port that they are connected to; both ends of what a peer asks."""
    sockets = list(sockets)
    asking = {each.laddr for each in sockets if uses.get(_port(each)) == PEER}
    return Counter(PEER if each.raddr in asking else uses.get(_port(each), CLIENT) for each in sockets)


def _port(connection: Connection) -> int:
    """0 of what is not connected."""
    return getattr(connection.raddr, "port", 0)


def left_open(first: Resources, last: Resources) -> Sequence[str]:
    """Each thing of which there is too much, in words."""
    pools = POOL * first.processes
    return [
        f"{name}: {before} at the start, {after} at the end"
        for name, before, after, slack in (
            ("processes", first.processes, last.processes, 0),
            ("sockets of callers", first.client_sockets, last.client_sockets, 0),
            ("sockets to each other", first.peer_sockets, last.peer_sockets, ENDS * first.processes),
            ("sockets to the cloud", first.cloud_sockets, last.cloud_sockets, pools),
            ("sockets to Redis", first.redis_sockets, last.redis_sockets, pools),
            ("threads", first.threads, last.threads, pools),
        )
        if after > before + slack
    ]
