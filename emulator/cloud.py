"""What every transport shares: the key, the state, the faults, the counters, the feed, and the end."""

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from emulator.counters import Counters, ReceivedRequest
from emulator.dates import Clock
from emulator.faults import Fault, Faults
from emulator.feed import Feed
from emulator.state import CloudState

MAX_LOGGED_VARIABLES = 200
"""A request whose variables hold a longer list is logged without them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """One emulated cloud, as its transports see it."""

    api_keys: set[str] = field(repr=False)
    """The keys that are accepted at present."""
    state: CloudState
    """What it knows."""
    faults: Faults
    """What goes wrong."""
    counters: Counters
    """What it was asked."""
    feed: Feed
    """Who listens."""
    now_ms: Clock
    """The clock."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the end, so that nothing hangs longer than that."""

    def accepts_key(self, headers: Any) -> bool:
        """Tell whether these headers, names in any case, carry the key."""
        if not isinstance(headers, Mapping):
            return False
        given = next((value for name, value in headers.items() if str(name).lower() == "x-api-key"), None)
        return isinstance(given, str) and any(
            hmac.compare_digest(given.encode(), key.encode()) for key in self.api_keys
        )

    def record(self, request: ReceivedRequest, *, fault: Fault | None) -> None:
        """Count a request, with the fault it meets."""
        self.counters.record(replace(request, fault=None if fault is None else str(fault.kind)))
