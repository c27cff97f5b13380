"""What the sidecars of a run have open in the end that they did not have open at its beginning."""

from collections.abc import Sequence

from tests.chaos.records import Resources

POOL = 8
"""A busy process may have opened so many connections to the cloud or to Redis, and threads for them."""


def left_open(first: Resources, last: Resources) -> Sequence[str]:
    """Each thing of which there is too much, in words."""
    pools = POOL * first.processes
    return [
        f"{name}: {before} at the start, {after} at the end"
        for name, before, after, slack in (
            ("processes", first.processes, last.processes, 0),
            ("sockets of callers", first.client_sockets, last.client_sockets, 0),
            ("sockets to the cloud", first.cloud_sockets, last.cloud_sockets, pools),
            ("sockets to Redis", first.redis_sockets, last.redis_sockets, pools),
            ("threads", first.threads, last.threads, pools),
        )
        if after > before + slack
    ]
