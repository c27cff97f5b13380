"""The open sockets: who subscribed to what, sending to all of them, and cutting or deafening them."""

from collections import Counter
from typing import Any, Protocol

from emulator.signals import Changed
from emulator.state import FeedEvent

WAIT_SECONDS = 5.0


class FeedSocket(Protocol):
    """One open WebSocket, as the feed needs it."""

    def fields(self) -> list[str]:
        """List the fields subscribed to, once per subscription."""
        ...

    def deliver(self, event: FeedEvent) -> None:
        """Send an event to the socket's subscriptions of its field."""
        ...

    def send_raw(self, text: str) -> None:
        """Send any text frame."""
        ...

    def drop(self) -> None:
        """Cut the connection without a close frame."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close the connection with a code and reason."""
        ...

    def silence(self) -> None:
        """Stop answering anything, for good, with the connection left open."""
        ...


class Feed:
    """The cloud's side of all WebSocket connections."""

    def __init__(self) -> None:
        self._sockets: set[FeedSocket] = set()
        self._changed = Changed()

    def join(self, socket: FeedSocket) -> None:
        """Take in an acknowledged socket."""
        self._sockets.add(socket)
        self._changed.notify()

    def leave(self, socket: FeedSocket) -> None:
        """Let a socket go; one that is not there does not matter."""
        self._sockets.discard(socket)
        self._changed.notify()

    def changed(self) -> None:
        """Tell those who wait that a socket's subscriptions have changed."""
        self._changed.notify()

    def publish(self, event: FeedEvent) -> None:
        """Tell an event to every subscriber of its field."""
        for socket in list(self._sockets):
            socket.deliver(event)

    def drop(self) -> int:
        """Cut every connection without a close frame; returns how many."""
        return self._each("drop")

    def close(self, code: int, reason: str = "") -> int:
        """Close every connection with a code and reason; returns how many."""
        return self._each("close", code, reason)

    def silence(self) -> int:
        """Make every open connection half-open: no data, no pongs, no close, for good; returns how many."""
        return self._each("silence")

    def send_raw(self, text: str) -> int:
        """Send any text frame to every connection, protocol or not; returns how many."""
        return self._each("send_raw", text)

    @property
    def connections(self) -> int:
        """How many acknowledged sockets are open."""
        return len(self._sockets)

    def subscriptions(self) -> Counter[str]:
        """Count the live subscriptions by field."""
        return Counter(field for socket in self._sockets for field in socket.fields())

    async def subscribed(self, *fields: str, count: int = 1, timeout_seconds: float = WAIT_SECONDS) -> None:
        """Return once each field has so many subscribers; without fields, so many sockets are open."""

        def enough() -> bool:
            counts = self.subscriptions()
            return self.connections >= count and all(counts[field] >= count for field in fields)

        await self._changed.until(enough, timeout_seconds=timeout_seconds)

    async def empty(self, *, timeout_seconds: float = WAIT_SECONDS) -> None:
        """Return once no socket is open."""
        await self._changed.until(lambda: not self._sockets, timeout_seconds=timeout_seconds)

    def _each(self, act: str, *arguments: Any) -> int:
        sockets = list(self._sockets)
        for socket in sockets:
            getattr(socket, act)(*arguments)
        return len(sockets)
