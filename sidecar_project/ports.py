"""Ports, opened before anything answers, so that one that is taken is a clear sentence."""

import socket

from entitlements.config import SidecarConfig
from grpc_service.server import PortUnavailable
from grpc_service.tls import TlsFiles

HTTP_BACKLOG = 128
"""How many HTTP connections may wait to be accepted."""


def listen(host: str, port: int, *, shares_port: bool = False) -> socket.socket:
    """A socket that listens there; port 0 finds a free one; one that is shared was reserved by a parent.

    Raises:
        PortUnavailable: the port is taken, or may not be used.
    """
    try:
        family = family_of(host)
        return socket.create_server(
            (host, port),
            family=family,
            backlog=HTTP_BACKLOG,
            reuse_port=shares_port,
            dualstack_ipv6=serves_both_families(host),
        )
    except OSError as error:
        raise _unavailable(host, port, error) from error


def reserve(host: str, port: int) -> socket.socket:
    """A socket that keeps a port for processes that share it by SO_REUSEPORT; port 0 finds a free one.

    Raises:
        PortUnavailable: somebody else uses the port, or it may not be used.
    """
    try:
        family, is_dual = family_of(host), serves_both_families(host)
        with socket.create_server((host, port), family=family, dualstack_ipv6=is_dual) as alone:
            port = alone.getsockname()[1]  # it would have failed where the port is taken
        reserved = socket.socket(family, socket.SOCK_STREAM)
        if is_dual:
            reserved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((host, port))
    except OSError as error:
        raise _unavailable(host, port, error) from error
    return reserved


def tls_files(config: SidecarConfig) -> TlsFiles | None:
    """The files of the TLS listener; None when there is to be none."""
    certificate, key = config.tls_cert_file, config.tls_key_file
    if certificate is None or key is None:
        return None
    return TlsFiles(certificate=certificate, key=key, client_ca=config.tls_client_ca_file)


def serves_both_families(host: str) -> bool:
    """True for `::`, which is everybody's address: gRPC's core serves IPv4 there as well."""
    return host == "::" and socket.has_dualstack_ipv6()


def family_of(host: str) -> socket.AddressFamily:
    """IPv6 for what looks like it."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _unavailable(host: str, port: int, error: OSError) -> PortUnavailable:
    return PortUnavailable(host, port, error.strerror or "the address cannot be used")
