"""What is on this machine, and where a listener listens."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address

_LOOPBACKS = ("127.0.0.1", "::1")
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - these are recognised here


def is_loopback(host: str) -> bool:
    """True of a name or an address of this machine alone."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def family_of(address: str) -> socket.AddressFamily:
    """IPv6 for what looks like it."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def addresses_of(host: str) -> Sequence[str]:
    """What every listener is opened at, so that all ports are served on the same addresses.

    `localhost` is both of a machine's own, whatever its resolver knows. `::` and `0.0.0.0` are everybody's in
    both families, since gRPC's core takes either for that. A machine without IPv6 has the other half of each.
    A name is all that it resolves to.

    Raises:
        OSError: the name is not known.
    """
    if host == "localhost":
        return tuple(address for address in _LOOPBACKS if _is_here(address))
    if host in _EVERYWHERE:
        return ("::",) if socket.has_dualstack_ipv6() else ("0.0.0.0",)  # noqa: S104 - the half that there is
    with suppress(ValueError):
        return (str(ip_address(host)),)
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def local_address_of(host: str) -> str:
    """Where a listener at `host` is reached from this machine."""
    return "127.0.0.1" if host in _EVERYWHERE else host


def _is_here(address: str) -> bool:
    """False of an IPv6 address where there is no IPv6."""
    try:
        socket.create_server((address, 0), family=family_of(address)).close()
    except OSError:
        return False
    return True
