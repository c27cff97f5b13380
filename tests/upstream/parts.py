"""Parts of the way to the cloud, by the environment that a test gives."""

import time
from collections.abc import Callable, Mapping

from entitlements.upstream.network import Network
from entitlements.upstream.shares import Share
from entitlements.upstream.transport import CloudTransport


def a_transport(
    identity: Mapping[str, str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> CloudTransport:
    """Real connections; no proxy, and the system's authorities, unless told otherwise."""
    return CloudTransport(identity=identity or {}, network=Network.of(environment or {}), monotonic=monotonic)


def a_share(at_a_time: int = 100) -> Share:
    """Of requests of a kind that only tests know."""
    return Share("tests", transport="edge", at_a_time=at_a_time)
