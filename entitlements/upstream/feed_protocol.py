"""graphql-transport-ws as its client, without I/O: frames in; events, and the frames to send, out.

The protocol acknowledges the connection but no subscription. A ping sent behind the subscriptions is
acknowledged: the server answers it after it has handled them, so the feed is followed from that pong on.
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec

BAD_KEY_TEXT = "Invalid API key"
THROTTLED_TEXT = "ThrottlerException"
MAX_GARBAGE_FRAMES = 100
"""A server that sends more of what cannot be understood, on one connection, is cut."""


class Problem(enum.Enum):
    """Why a connection ended, or could not be made; the value is a name for metrics and people."""

    LOST = "lost"
    """Anything that may be over with the next attempt."""
    LAGGING = "lagging"
    """Changes come, and come late: what was sent behind them is not answered in time."""
    KEY_REFUSED = "key_refused"
    """Permanent until somebody fixes the key: tried again slowly, and logged loudly."""
    THROTTLED = "throttled"
    """The cloud asks to slow down."""
    UNTRUSTED = "certificate_untrusted"
    """The other side's certificate is not one that is trusted here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """All subscriptions are in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A subscription sent something; the frame is as it came."""

    subscription: str
    frame: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionEnded:
    """One subscription is not in force any more; the others are."""

    subscription: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A frame that is not understood; it is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The connection is of no use any more."""

    problem: Problem


Event: TypeAlias = Followed | Delivered | SubscriptionEnded | Skipped | Failed


def classify_close(reason: str) -> Problem:
    """What the reason of a close means, whatever its code (contract/better.md: close code 4403)."""
    if BAD_KEY_TEXT.lower() in reason.lower():
        return Problem.KEY_REFUSED
    return Problem.THROTTLED if THROTTLED_TEXT in reason else Problem.LOST


def classify_status(status: int) -> Problem:
    """What the refusal of an upgrade means."""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Problem.KEY_REFUSED
    return Problem.THROTTLED if status == HTTPStatus.TOO_MANY_REQUESTS else Problem.LOST


class _Envelope(msgspec.Struct):
    """What says what a frame is."""

    type: str = ""
    id: str = ""


_read_envelope = msgspec.json.Decoder(_Envelope).decode


class FeedProtocol:
    """One connection's state: feed it frames with `receive`, send what `frames_to_send` returns."""

    def __init__(self, *, headers: Mapping[str, str], subscriptions: Mapping[str, str]) -> None:
        self._documents = subscriptions
        self._ids: dict[str, str] = {}
        self._last_id = 0
        self._pings = 0
        self._pongs = 0
        self._confirming_ping: int | None = None
        self._garbage = 0
        self.is_followed = False
        self.outgoing = [_text({"type": "connection_init", "payload": {"headers": dict(headers)}})]
        """The frames that are due, in order."""

    def frames_to_send(self) -> list[str]:
        """The frames that are due, in order; each is returned once."""
        outgoing, self.outgoing = self.outgoing, []
        return outgoing

    def ping(self) -> None:
        """Has a ping sent."""
        self._pings += 1
        self.outgoing.append(_text({"type": "ping"}))

    def resubscribe(self, subscription: str) -> None:
        """Asks for one subscription again; the feed is followed when the ping behind it is answered."""
        self._subscribe(subscription)
        self._confirm()

    def _subscribe(self, subscription: str) -> None:
        self._last_id += 1
        self._ids[str(self._last_id)] = subscription
        payload = {"query": self._documents[subscription], "operationName": _operation_name(subscription)}
        self.outgoing.append(_text({"type": "subscribe", "id": str(self._last_id), "payload": payload}))

    def _confirm(self) -> None:
        self.ping()
        self._confirming_ping = self._pings

    def receive(self, frame: str | bytes) -> list[Event]:
        """What one frame means; may make frames due."""
        message = _message(frame)
        match message.get("type"):
            case "connection_ack":
                return self._acknowledged()
            case "next":
                return self._next(message, str(frame))
            case "error" | "complete":
                return self._ended(message)
            case "ping":
                return self._pong(message)
            case "pong":
                return self._ponged()
            case _:
                return self._skipped()

    def _acknowledged(self) -> list[Event]:
        if self._ids:
            return self._skipped()
        for subscription in self._documents:
            self._subscribe(subscription)
        self._confirm()
        return []

    def _next(self, message: Mapping[str, Any], frame: str) -> list[Event]:
        id_ = message.get("id")
        subscription = self._ids.get(id_) if isinstance(id_, str) else None
        if subscription is None:
            return self._skipped()
        return [Delivered(subscription=subscription, frame=frame)]

    def _ended(self, message: Mapping[str, Any]) -> list[Event]:
        if BAD_KEY_TEXT.lower() in json.dumps(message.get("payload")).lower():
            return [Failed(problem=Problem.KEY_REFUSED)]
        subscription = self._ids.pop(_id(message), None)
        if subscription is None:
            return self._skipped()
        self.is_followed = False
        return [SubscriptionEnded(subscription=subscription)]

    def _pong(self, message: Mapping[str, Any]) -> list[Event]:
        answer: dict[str, Any] = {"type": "pong"}
        if "payload" in message:
            answer["payload"] = message["payload"]
        try:
            self.outgoing.append(_text(answer))
        except RecursionError:  # writing takes more stack than reading took; a deep payload ended the feed
            return self._skipped()
        return []

    def _ponged(self) -> list[Event]:
        """Pongs come in the order of the pings; one too many is the server's own heartbeat."""
        if self._pongs == self._pings:
            return []
        self._pongs += 1
        if self._confirming_ping is None or self._pongs < self._confirming_ping:
            return []
        self._confirming_ping = None
        if len(self._ids) < len(self._documents):
            return []
        self.is_followed = True
        return [Followed()]

    @property
    def pings_under_way(self) -> int:
        """The number of pings that are not answered yet; what the server sent before is still to come."""
        return self._pings - self._pongs

    def doubt(self) -> None:
        """What comes is late: the feed is followed again when the last ping is answered."""
        self.is_followed = False
        self._confirming_ping = self._pings

    def _skipped(self) -> list[Event]:
        self._garbage += 1
        if self._garbage > MAX_GARBAGE_FRAMES:
            return [Skipped(), Failed(problem=Problem.LOST)]
        return [Skipped()]


def _operation_name(subscription: str) -> str:
    return subscription[0].upper() + subscription[1:]


def _id(message: Mapping[str, Any]) -> str:
    id_ = message.get("id")
    return id_ if isinstance(id_, str) else ""


def _message(frame: str | bytes) -> Mapping[str, Any]:
    """What a frame holds; of a change only whose it is, as its payload is read where it is applied."""
    if not isinstance(frame, str):
        return {}
    try:
        envelope = _read_envelope(frame)
        if envelope.type == "next":
            return {"type": "next", "id": envelope.id}
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass  # another type of field, or what only Python's own reader takes
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _text(message: Mapping[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))
