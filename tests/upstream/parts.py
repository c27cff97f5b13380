"""Parts of the way to the cloud, by the environment that a test gives."""

import time
from collections.abc import Callable, Mapping

from entitlements.upstream.identity import Identity
from entitlements.upstream.network import Network
from entitlements.upstream.shares import Share
from entitlements.upstream.transport import CloudTransport


def an_identity(api_key: str) -> Identity:
    """A test that asks by this key."""
    return Identity(api_key, instance_id="instance-1", user_agent="tests")


def a_transport(
    identity: Identity | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> CloudTransport:
    """Real connections; no proxy, and the system's authorities, unless given otherwise."""
    identity = identity or an_identity("no-key")
    return CloudTransport(identity=identity, network=Network.of(environment or {}), monotonic=monotonic)


def a_share(at_a_time: int = 100) -> Share:
    """Of requests of a kind that only tests know."""
    return Share("tests", transport="edge", at_a_time=at_a_time)
