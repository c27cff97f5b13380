"""One fetch under way, and how it may end without an entity."""

import asyncio
from dataclasses import dataclass

from entitlements.domain.entity_history import Origin
from entitlements.domain.errors import Overloaded, UpstreamError
from entitlements.domain.ports import Lookup


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFetched:
    """The cloud could not be asked, or did not answer."""

    error: UpstreamError | Overloaded


@dataclass(slots=True, kw_only=True)
class Flight:
    """One fetch under way."""

    task: "asyncio.Task[Lookup | NotFetched]"
    is_doubted: bool = False
    joined: int = 0
    """How many more callers have waited for it."""
    waiting: int = 0
    """How many callers wait for it at present."""
    origin: Origin = Origin.FETCH
    asked_at: float | None = None
    """When it began to ask the cloud; None: it has not begun."""
    looks: bool = False
    """True where it looks into what processes share before it asks the cloud."""
    has_found: bool = False
    """True once that was all it had to do."""

    def begun(self, at: float) -> None:
        """It asks from now on."""
        self.asked_at = at
