"""The HTTP server, loaded without what it never uses here.

Daphne brings Twisted's TLS and autobahn's native WebSocket code; HTTP here is plain and without WebSockets.
Leaving them out spares every process 7 MB and a tenth of a second of its start; autobahn's WAMP, which is
another protocol, brings 6 MB of cryptography.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def _left_out(package: str, stand_in: ModuleType | None = None) -> Iterator[None]:
    """Whoever imports the package meanwhile finds it missing, which Twisted takes for "no TLS"."""
    is_loaded = package in sys.modules
    if not is_loaded:
        sys.modules[package] = stand_in  # type: ignore[assignment]  # None: the language's own "not there"
    try:
        yield
    finally:
        if not is_loaded:
            del sys.modules[package]


os.environ.setdefault("AUTOBAHN_USE_NVX", "0")
_wamp = ModuleType("autobahn.twisted.wamp")
_wamp.ApplicationSession = None  # type: ignore[attr-defined]  # autobahn passes it on, and nobody here takes it
with _left_out("OpenSSL"), _left_out(_wamp.__name__, _wamp):
    import daphne.server  # before all else of Twisted: it chooses the reactor

    from sidecar_project import http_bounds

# Daphne makes the connections' factory where it runs, and has no other place to say which.
daphne.server.HTTPFactory = http_bounds.Factory  # type: ignore[attr-defined]
twisted_loop = daphne.server.twisted_loop


class _Server(daphne.server.Server):
    """Daphne's, whose listener rests while no file descriptor is left."""

    def listen_success(self, port: Any) -> None:
        """A listener is open."""
        super().listen_success(port)  # type: ignore[no-untyped-call]  # daphne has no types
        port.socket = http_bounds.Listener(port)


HttpServer: Any = _Server

__all__ = ["HttpServer", "http_bounds", "twisted_loop"]
