"""The names that Redis holds, a page at a time: in a Cluster of one primary after the other."""

from typing import cast

from entitlements.redis.connection import Client
from entitlements.redis.nodes import primaries

MAX_PRIMARIES = 1024
"""A Cluster has no more than 1,000 nodes, as its makers say."""


def scan_page(client: Client, cursor: int, *, match: str, count: int) -> tuple[int, list[bytes]]:
    """Some names, and where to go on (0: that was all).

    The cursor is Redis' own and the number of the primary: in the first of them, or the only node, Redis' own
    is multiplied and nothing else. Primaries that come or go between two pages may be left out or seen twice,
    as their keys may be while they move.
    """
    nodes = primaries(client)
    within, number = divmod(cursor, MAX_PRIMARIES)
    if number >= len(nodes):
        return 0, []
    following, names = cast("tuple[int, list[bytes]]", nodes[number].scan(within, match=match, count=count))
    if following == 0:
        number += 1
        return (0 if number >= len(nodes) else number), names
    return following * MAX_PRIMARIES + number, names
