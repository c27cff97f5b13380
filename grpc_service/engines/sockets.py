"""The TCP sockets of this process, past gRPC's core, which shows none of them."""

import os
import socket
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from urllib.parse import unquote


def tcp_sockets() -> Iterator[tuple[int, socket.socket]]:
    """Each by its descriptor, and by one of ours as well: the core may close its one."""
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # closed meanwhile, or not connected any more
            copy = os.dup(int(name))
            if not stat.S_ISSOCK(os.fstat(copy).st_mode):
                os.close(copy)
                continue
            with socket.socket(fileno=copy) as each:
                if each.family in {socket.AF_INET, socket.AF_INET6} and each.type == socket.SOCK_STREAM:
                    yield int(name), each


def cut(peers: Collection[str]) -> None:
    """Cuts the connections whose other ends gRPC calls so; what is under way on them is lost."""
    wanted = {unquote(peer).partition(":")[2] for peer in peers}
    for _, each in tcp_sockets():
        with suppress(OSError):  # it listens
            host, port = each.getpeername()[:2]
            if wanted & {f"{host.removeprefix('::ffff:')}:{port}", f"[{host}]:{port}"}:
                each.shutdown(socket.SHUT_RDWR)
