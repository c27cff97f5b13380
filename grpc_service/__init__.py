"""The wire: gRPC in, gRPC out.

Before anything imports grpc, its core is configured by a variable: it looks once, when it is loaded.
"""

import os

SOCKETS_ON_THE_QUEUE = "-event_engine_listener"
"""Sockets are read and written by the thread that waits on the queue, and not by the core's own pool: with
that pool every call costs two switches of threads, half of a hit's time on one processor."""
ONE_FILTER = "fuse_filters"
"""Compression, message size and HTTP semantics are looked after in one step of the core and not in three,
which is a tenth of a hit's time."""
EXPERIMENTS = f"{SOCKETS_ON_THE_QUEUE},{ONE_FILTER}"
"""A core that does not know a name any more says so in its log and goes on."""

os.environ.setdefault("GRPC_EXPERIMENTS", EXPERIMENTS)
