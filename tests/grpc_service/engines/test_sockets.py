"""Connections of this process by the names that gRPC has for them."""

import socket

import pytest

from grpc_service.engines.sockets import cut

SECONDS = 10.0


@pytest.mark.parametrize(
    ("listens_on", "connects_to", "peer"),
    [
        ("127.0.0.1", "127.0.0.1", "ipv4:127.0.0.1:{port}"),
        ("::1", "::1", "ipv6:%5B::1%5D:{port}"),
        ("::", "127.0.0.1", "ipv4:127.0.0.1:{port}"),  # of a listener of both families
    ],
)
def test_the_connection_of_a_peer_is_cut(listens_on: str, connects_to: str, peer: str) -> None:
    """And no other."""
    family = socket.AF_INET6 if ":" in listens_on else socket.AF_INET
    with socket.create_server((listens_on, 0), family=family, dualstack_ipv6=listens_on == "::") as listener:
        address = (connects_to, listener.getsockname()[1])
        with (
            socket.create_connection(address, SECONDS) as one,
            listener.accept()[0],
            socket.create_connection(address, SECONDS) as other,
            listener.accept()[0] as served,
        ):
            cut({peer.format(port=one.getsockname()[1])})

            assert b"" == one.recv(1)
            served.sendall(b"x")
            assert b"x" == other.recv(1)


def test_unknown_names_are_of_nobody() -> None:
    cut({"unix:", "nonsense", "ipv6:%5B::1%5D:1"})
