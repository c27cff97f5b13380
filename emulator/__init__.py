"""A Stigg cloud on the laptop, for people without an account and for tests.

It speaks the three transports of contract/upstream.md on one port (Edge REST, GraphQL over HTTP, GraphQL
over WebSocket), can be made to fail in many ways, and counts what it is asked. It is a stranger to the
sidecar: it imports nothing of it.
"""

from emulator.faults import Fault, FaultKind, Faults, Transport
from emulator.server import Emulator, serve
from emulator.state import CloudState

__all__ = ["CloudState", "Emulator", "Fault", "FaultKind", "Faults", "Transport", "serve"]
