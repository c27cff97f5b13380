"""Ports, opened before anything answers, so that one that is taken is a clear sentence."""

import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from entitlements.addresses import addresses_of, family_of
from entitlements.config import SidecarConfig
from grpc_service.server import PortUnavailable
from grpc_service.tls import TlsFiles

HTTP_BACKLOG = 128
"""How many HTTP connections may wait to be accepted."""


def listen(host: str, port: int, *, shares_port: bool = False) -> Sequence[socket.socket]:
    """A socket for each address of the host that listens there, all on one port.

    Args:
        host: as of SIDECAR_LISTEN_HOST.
        port: 0 finds a free one.
        shares_port: it was reserved by a parent.

    Raises:
        PortUnavailable: the port is taken, or may not be used.
    """

    def opened(address: str, port: int) -> socket.socket:
        listener = socket.create_server(
            (address, port),
            family=family_of(address),
            backlog=HTTP_BACKLOG,
            reuse_port=shares_port,
            dualstack_ipv6=address == "::",
        )
        # Connections inherit it. asyncio leaves it out for sockets that it did not make, and an answer whose
        # head and body are two writes then waits 40 ms for the client's delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener

    return _at_each_address(host, port, opened)


def reserve(host: str, port: int) -> Sequence[socket.socket]:
    """Sockets that keep a port for processes that share it by SO_REUSEPORT; port 0 finds a free one.

    Raises:
        PortUnavailable: somebody else uses the port, or it may not be used.
    """

    def reserved(address: str, port: int) -> socket.socket:
        family, is_dual = family_of(address), address == "::"
        with socket.create_server((address, port), family=family, dualstack_ipv6=is_dual) as alone:
            port = alone.getsockname()[1]  # it would have failed where the port is taken
        kept = socket.socket(family, socket.SOCK_STREAM)
        if family is socket.AF_INET6:
            kept.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_dual)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind((address, port))
        return kept

    return _at_each_address(host, port, reserved)


def port_of(sockets: Sequence[socket.socket]) -> int:
    """The one that they all have."""
    port: int = sockets[0].getsockname()[1]
    return port


def tls_files(config: SidecarConfig) -> TlsFiles | None:
    """The files of the TLS listener; None when there is to be none."""
    certificate, key = config.tls_cert_file, config.tls_key_file
    if certificate is None or key is None:
        return None
    return TlsFiles(certificate=certificate, key=key, client_ca=config.tls_client_ca_file)


def _at_each_address(
    host: str, port: int, opened: Callable[[str, int], socket.socket]
) -> Sequence[socket.socket]:
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        try:
            for address in addresses_of(host):
                sockets.append(stack.enter_context(opened(address, port)))
                port = port_of(sockets)
        except OSError as error:
            reason = error.strerror or "the address cannot be used"
            raise PortUnavailable(host, port, reason) from error
        stack.pop_all()
        return sockets
