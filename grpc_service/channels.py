"""How our own gRPC clients reach a sidecar."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from entitlements.addresses import is_loopback

_DIRECT = (("grpc.enable_http_proxy", 0),)


def channel_options(address: str) -> Sequence[tuple[str, int]]:
    """What keeps gRPC's core from asking a proxy for what is on this machine."""
    try:
        host = urlsplit(f"//{address}").hostname or ""
    except ValueError:
        return ()
    return _DIRECT if is_loopback(host) or address.startswith("unix:") else ()
