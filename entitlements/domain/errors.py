"""What can go wrong, as data; each error makes its own sentence.

SidecarError
├── InvalidRequest            the caller's own mistake
├── Overloaded                one of our bounds is full
├── OutboxUnavailable         the outbox cannot keep a write: its disk or its Redis fails it
└── UpstreamError             the cloud
    ├── Unreachable           no connection, reset, time-out
    │   ├── Untrusted         its certificate was refused here
    │   ├── Busy              not asked: our own requests of that kind fill their share
    │   ├── CircuitOpen       not asked, because it did not answer lately
    │   └── FailedElsewhere   not asked, because another process just was in vain
    ├── KeyRefused            the API key is wrong or lacks the right
    ├── Forbidden             this question was refused, without naming the key
    ├── Throttled             too many requests
    ├── Garbled               an answer that is no answer: 5xx, no JSON, no data
    │   └── TooLarge          an answer beyond our bound: that entity's trouble, not the source's
    ├── Rejected              the API understood and said no
    │   └── RequestTooLarge   to one request of that size
    └── Offline               there is no cloud by configuration
"""

from dataclasses import dataclass
from typing import ClassVar

FAULTS_OF_THE_CLOUD = frozenset({"", "InternalServerError", "INTERNAL_SERVER_ERROR"})
"""Codes of a refusal that say nothing about what was sent."""


class SidecarError(Exception):
    """Any failure that this service names."""


@dataclass(eq=False)
class InvalidRequest(SidecarError):
    """The caller sent what cannot be used."""

    field: str
    """The request's field, as in the proto."""
    problem: str
    """What is wrong with it and what it must hold, to follow the field's name in a sentence."""

    def __str__(self) -> str:
        return f"{self.field} {self.problem}"


@dataclass(eq=False)
class Overloaded(SidecarError):
    """A bound of this service is full."""

    outcome: ClassVar[str] = "overloaded"
    """A short name for metrics."""

    bound: str
    """The bound's name, such as SIDECAR_FETCH_QUEUE_SIZE."""

    def __str__(self) -> str:
        return f"the sidecar is at its bound {self.bound}; try again later"


@dataclass(eq=False)
class OutboxUnavailable(SidecarError):
    """The outbox could not keep what was to be written."""

    outcome: ClassVar[str] = "outbox_unavailable"

    def __str__(self) -> str:
        return "neither the Stigg api nor the outbox could take the report; it may or may not have arrived"


@dataclass(eq=False)
class UpstreamError(SidecarError):
    """The cloud did not do what it was asked."""

    outcome: ClassVar[str] = "failed"
    """A short name for metrics: bounded, one per class."""

    transport: str
    """`edge`, `api` or `feed`."""


@dataclass(eq=False)
class Unreachable(UpstreamError):
    """The cloud could not be reached, or did not answer in time."""

    outcome: ClassVar[str] = "unreachable"
    problem: str = "could not be reached"

    def __str__(self) -> str:
        return f"the Stigg {self.transport} {self.problem}"


@dataclass(eq=False)
class Untrusted(Unreachable):
    """The other side's certificate is not one that is trusted here."""

    outcome: ClassVar[str] = "certificate_untrusted"
    problem: str = "shows a certificate that is not trusted"

    def __str__(self) -> str:
        return f"{super().__str__()}; set SSL_CERT_FILE to the certificate of its authority"


@dataclass(eq=False)
class Busy(Unreachable):
    """The cloud was not asked: as many of our requests of that kind as may be are under way."""

    outcome: ClassVar[str] = "busy"
    problem: str = "was not asked in time: too many requests of this sidecar wait for it"


@dataclass(eq=False)
class BudgetSpent(Busy):
    """The cloud was not asked: the requests that all sidecars may make in a minute are used."""

    outcome: ClassVar[str] = "budget_spent"
    problem: str = "was not asked: the budget of requests (SIDECAR_EDGE_REQUESTS_PER_MINUTE) is used"


@dataclass(eq=False)
class CircuitOpen(Unreachable):
    """The cloud was not asked, because it did not answer lately."""

    outcome: ClassVar[str] = "circuit_open"
    problem: str = "did not answer lately and is given a pause"


@dataclass(eq=False)
class FailedElsewhere(Unreachable):
    """The cloud was not asked, because it just did not answer another process that asked the same."""

    outcome: ClassVar[str] = "failed_elsewhere"
    problem: str = "did not answer another process just now"


@dataclass(eq=False)
class KeyRefused(UpstreamError):
    """The API key is not valid, or has not the right."""

    outcome: ClassVar[str] = "key_refused"

    def __str__(self) -> str:
        return f"the Stigg {self.transport} refused the API key (SERVER_API_KEY)"


@dataclass(eq=False)
class Forbidden(UpstreamError):
    """The question was refused; the key may be good, for a gateway on the way refuses so too."""

    outcome: ClassVar[str] = "forbidden"

    def __str__(self) -> str:
        return f"the Stigg {self.transport}, or a gateway before it, refuses this question (status 403)"


@dataclass(eq=False)
class Throttled(UpstreamError):
    """The cloud asks to slow down."""

    outcome: ClassVar[str] = "throttled"
    retry_after_seconds: float | None = None

    def __str__(self) -> str:
        wait = "" if self.retry_after_seconds is None else f"; retry after {self.retry_after_seconds:g} s"
        return f"the Stigg {self.transport} limits the rate of requests{wait}"


@dataclass(eq=False)
class Garbled(UpstreamError):
    """The cloud answered something that is no answer."""

    outcome: ClassVar[str] = "garbled"
    problem: str = "sent an unusable answer"

    def __str__(self) -> str:
        return f"the Stigg {self.transport} {self.problem}"


@dataclass(eq=False)
class TooLarge(Garbled):
    """The answer is larger than what is read; it is about one entity, and no less so when asked again."""

    outcome: ClassVar[str] = "too_large"


@dataclass(eq=False)
class LaggingAnswer(Garbled):
    """A cache of the cloud answered with an older state than is known, and the API could not be asked."""

    outcome: ClassVar[str] = "lagging"
    problem: str = "answered with an older state than is known"


@dataclass(eq=False)
class Rejected(UpstreamError):
    """The API understood the request and said no."""

    outcome: ClassVar[str] = "rejected"
    code: str = ""
    """The API's `extensions.code`, such as `CustomerNotFound`."""
    message: str = ""
    trace_id: str | None = None
    status: int | None = None
    """The HTTP status, where that alone says no: it is about what was sent."""

    @property
    def is_about_the_request(self) -> bool:
        """False where the cloud only says that it failed: the same may be taken the next time."""
        return self.status is not None or self.code not in FAULTS_OF_THE_CLOUD

    def __str__(self) -> str:
        trace = f" (trace id {self.trace_id})" if self.trace_id else ""
        return f"the Stigg {self.transport} rejected the request: {self.message or self.code}{trace}"


@dataclass(eq=False)
class RequestTooLarge(Rejected):
    """What was sent is larger than the API, or a gateway before it, takes in one request."""

    outcome: ClassVar[str] = "request_too_large"


@dataclass(eq=False)
class Offline(UpstreamError):
    """The configuration says that there is no cloud (OFFLINE)."""

    outcome: ClassVar[str] = "offline"

    def __str__(self) -> str:
        return "the sidecar runs offline (OFFLINE=1)"
