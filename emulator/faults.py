"""What goes wrong on purpose: which fault, where, how often. Applying one is the transport's job."""

import asyncio
import random
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

MAX_FAULTS = 100


class Transport(StrEnum):
    """One of the three ways into the cloud; each has its own faults."""

    EDGE = "edge"
    GRAPHQL = "graphql"
    WS = "ws"


class FaultKind(StrEnum):
    """How a request goes wrong. On `ws` some strike the upgrade, others the connection."""

    DOWN = "down"
    """The connection is reset at once; nothing is done."""
    SLOW = "slow"
    """The work is done at once, the answer leaves after `delay_ms` (ws: the upgrade does)."""
    HOLD = "hold"
    """HTTP: the work is done at once, the answer leaves when the transport's faults change."""
    HANG = "hang"
    """Accepted and never answered; nothing is done."""
    STATUS = "status"
    """Answered with `status`, and `Retry-After` where `retry_after_seconds` is given; nothing is done."""

    THROTTLED = "throttled"
    """HTTP 429 (`retry_after_seconds` optional); ws: a close whose reason holds ThrottlerException."""
    BAD_KEY = "bad_key"
    """The key is refused: 401 on edge, `Unauthenticated` on graphql, a close that says so on ws."""
    GARBAGE = "garbage"
    """HTTP 200 that is not JSON; ws: every frame after the acknowledgement is not JSON."""

    TRUNCATED = "truncated"
    """HTTP: the work is done, and the connection ends in the middle of the answer."""
    LOST_ANSWER = "lost_answer"
    """HTTP: the work is done, and the connection is reset before any answer."""
    ERRORS_200 = "errors_200"
    """HTTP 200 with a top-level `errors` array carrying `code` and `message`; nothing is done."""

    HUGE = "huge"
    """HTTP: the work is done, and its JSON is followed by `megabytes` of blanks."""
    REDIRECT = "redirect"
    """HTTP 307 to `location`; nothing is done."""

    NO_ACK = "no_ack"
    """ws: `connection_init` is never acknowledged."""
    SILENT = "silent"
    """ws: a half-open connection: after the upgrade nothing is ever answered, protocol pings included.

    For connections that are already open use `Feed.silence()`.
    """
    ERROR = "error"
    """ws: one subscription (`operation`: its operation name or field) is answered with an `error` message."""


_HTTP_KINDS = frozenset(FaultKind) - {FaultKind.NO_ACK, FaultKind.SILENT, FaultKind.ERROR}
_WS_KINDS = frozenset(FaultKind) - {
    FaultKind.HOLD,
    FaultKind.TRUNCATED,
    FaultKind.LOST_ANSWER,
    FaultKind.ERRORS_200,
    FaultKind.HUGE,
    FaultKind.REDIRECT,
}
KINDS_BY_TRANSPORT = {Transport.EDGE: _HTTP_KINDS, Transport.GRAPHQL: _HTTP_KINDS, Transport.WS: _WS_KINDS}

INVALID_KEY_REASON = "Invalid API key"
THROTTLED_REASON = "ThrottlerException: Too Many Requests"


class UnfitFaultError(ValueError):
    """A fault that this transport cannot have, or values that it cannot use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing going wrong, and for which requests."""

    kind: FaultKind
    """What happens."""
    operation: str | None = None
    """Only this GraphQL operation (graphql, ws `error`); edge: `entitlements-state`, `sdk-configuration`."""
    customer_id: str | None = None
    """Only requests about this customer (edge, graphql)."""
    times: int | None = None
    """Only the next so many requests; None: until cleared."""
    probability: float = 1.0
    """The share of matching requests that is struck, drawn from the seeded random."""
    delay_ms: int = 0
    """For `slow`."""
    status: int = 500
    """For `status`."""
    retry_after_seconds: int | None = None
    """For `status` and `throttled`: the Retry-After header."""
    code: str = "InternalServerError"
    """For `errors_200` and `error`: the error's `extensions.code`."""
    message: str = "Something went wrong"
    """For `errors_200` and `error`: the error's sentence."""
    megabytes: int = 30
    """For `huge`."""
    location: str = "http://127.0.0.1:1/"
    """For `redirect`."""
    close_code: int | None = None
    """For `throttled` and `bad_key` on ws: the close code; None: 4500 and 4403."""
    close_reason: str | None = None
    """For `throttled` and `bad_key` on ws: the close reason; None: the cloud's own."""

    def strikes(self, *, operation: str | None, customer_ids: Collection[str]) -> bool:
        """Tell whether this request is one of those meant, chance and number aside."""
        return self.operation in {None, operation} and (
            self.customer_id is None or self.customer_id in customer_ids
        )


class Faults:
    """The faults switched on, by transport. The first that strikes a request is applied, no other."""

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311 - repeatable chance, not secrecy
        self._active: dict[Transport, list[tuple[Fault, int | None]]] = {way: [] for way in Transport}
        self._released = {way: asyncio.Event() for way in Transport}

    def set(self, transport: Transport | str, kind: FaultKind | str | Fault, **values: object) -> Fault:
        """Make this the transport's only fault.

        Args:
            transport: edge, graphql or ws.
            kind: The kind's name, or a whole `Fault`.
            values: The other fields of `Fault`, where `kind` is a name.

        Returns:
            The fault now on.

        Raises:
            UnfitFaultError: The transport cannot have that fault, or a value is unusable.
        """
        fault = _checked(Transport(transport), kind, values)
        self._replace(Transport(transport), [(fault, fault.times)])
        return fault

    def add(self, transport: Transport | str, kind: FaultKind | str | Fault, **values: object) -> Fault:
        """Switch a fault on behind those already on; arguments as for `set`."""
        fault = _checked(Transport(transport), kind, values)
        active = self._active[Transport(transport)]
        if len(active) >= MAX_FAULTS:
            message = f"at most {MAX_FAULTS} faults on one transport"
            raise UnfitFaultError(message)
        active.append((fault, fault.times))
        return fault

    def clear(self, transport: Transport | str | None = None) -> None:
        """Switch off the transport's faults, or all of them, and then chance starts again from the seed."""
        for way in Transport if transport is None else (Transport(transport),):
            self._replace(way, [])
        if transport is None:
            self._random.seed(self._seed)

    def active(self, transport: Transport | str) -> list[Fault]:
        """List the transport's faults that can still strike, in the order they are tried."""
        return [fault for fault, _ in self._active[Transport(transport)]]

    def take(
        self,
        transport: Transport,
        *,
        kinds: Collection[FaultKind] = frozenset(FaultKind),
        operation: str | None = None,
        customer_ids: Collection[str] = (),
    ) -> Fault | None:
        """Find the fault for one request and use up one of its times; None when all goes well."""
        for index, (fault, left) in enumerate(self._active[transport]):
            if fault.kind not in kinds or not fault.strikes(operation=operation, customer_ids=customer_ids):
                continue
            if fault.probability < 1 and self._random.random() >= fault.probability:
                continue
            self._use_up(transport, index, left)
            return fault
        return None

    def released(self, transport: Transport) -> asyncio.Event:
        """Give the event that the next `set` or `clear` on this transport sets."""
        return self._released[transport]

    def _replace(self, transport: Transport, faults: list[tuple[Fault, int | None]]) -> None:
        self._active[transport] = faults
        self._released[transport].set()
        self._released[transport] = asyncio.Event()

    def _use_up(self, transport: Transport, index: int, left: int | None) -> None:
        if left is None:
            return
        if left <= 1:
            del self._active[transport][index]
        else:
            self._active[transport][index] = (self._active[transport][index][0], left - 1)


def _checked(transport: Transport, kind: FaultKind | str | Fault, values: dict[str, object]) -> Fault:
    fault = kind if isinstance(kind, Fault) else _built(kind, values)
    if fault.kind not in KINDS_BY_TRANSPORT[transport]:
        message = (
            f"{transport} has no fault {fault.kind}; it may have {sorted(KINDS_BY_TRANSPORT[transport])}"
        )
        raise UnfitFaultError(message)
    if fault.times is not None and fault.times < 1:
        message = "times is at least 1; leave it out for a fault that stays"
        raise UnfitFaultError(message)
    return fault


def _built(kind: str, values: dict[str, object]) -> Fault:
    try:
        return Fault(kind=FaultKind(kind), **values)  # type: ignore[arg-type] # checked by the call itself
    except (TypeError, ValueError) as exc:
        raise UnfitFaultError(str(exc)) from exc
