"""What is left open is counted by what it is for."""

import contextlib
import socket
from collections import Counter

import psutil

from tests.chaos.left_open import CLIENT, PEER, counted


def test_what_one_instance_asks_another_is_nobody_elses() -> None:
    """A worker that was called for the first time in a storm then compared answers, and left sockets open.

    Both ends of its connection were counted as those of a caller who had not gone (seed 5).
    """
    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        cloud = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        before = _counted(peer, cloud)
        for server in (peer, peer, cloud):
            stack.enter_context(socket.create_connection(server.getsockname()))
            stack.enter_context(server.accept()[0])

        after = _counted(peer, cloud)

    assert {PEER: 4, "cloud": 1, CLIENT: 1} == after - before


def _counted(peer: socket.socket, cloud: socket.socket) -> Counter[str]:
    uses = {peer.getsockname()[1]: PEER, cloud.getsockname()[1]: "cloud"}
    return counted(psutil.Process().net_connections("inet"), uses)
