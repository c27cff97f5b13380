"""What an address serves: `::` both families, as gRPC's core has it, and any other the one it names."""

import socket

import pytest

from sidecar_project.ports import listen, reserve

BOTH = ("127.0.0.1", "::1")

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


def reached(port: int) -> list[str]:
    """By which of a machine's own addresses a port is reached."""
    found = []
    for address in BOTH:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as client:
            if client.connect_ex((address, port)) == 0:
                found.append(address)
    return found


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "addresses"), [("::", list(BOTH)), ("::1", ["::1"]), ("127.0.0.1", ["127.0.0.1"])]
)
def test_an_address_serves_its_families(host: str, addresses: list[str]) -> None:
    with listen(host, 0) as listener:
        assert addresses == reached(listener.getsockname()[1])


@needs_ipv6
def test_a_port_that_workers_share_is_kept_for_both_families() -> None:
    """Else another program could take it for IPv4, and half of the callers."""
    with reserve("::", 0) as reserved, socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", reserved.getsockname()[1]))
