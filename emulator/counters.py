"""What the emulator was asked: counts by kind and customer, and a bounded log of the requests themselves."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from emulator.signals import Changed

MAX_LOGGED_REQUESTS = 10_000
MAX_COUNTED_KINDS = 200
MAX_COUNTED_CUSTOMERS = 100_000
OTHERS = "(others)"
"""Where counts go once a bound is reached."""
WAIT_SECONDS = 5.0

FETCH_KINDS = ("edge", "graphql:GetEntitlementsState")
HEADERS_OF_INTEREST = (
    "User-Agent", "X-SDK-INSTANCE-ID", "X-API-VERSION", "source", "x-graphql-operation-name", "Content-Type",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """One request as it arrived, before any fault."""

    kind: str
    """`edge`, `edge:sdk-configuration`, `graphql:<operation>`, `ws:connection`, `ws:subscription:<field>`."""
    at_ms: int
    """When, by the emulator's clock."""
    raw_path: str = ""
    """Path and query as they came over the wire, still encoded."""
    headers: dict[str, str] = field(default_factory=dict)
    """Those in `HEADERS_OF_INTEREST`, by those names; never the API key."""
    customer_ids: tuple[str, ...] = ()
    """The customers it is about, decoded."""
    variables: dict[str, Any] | None = None
    """GraphQL variables, unless they are too large to keep."""
    fault: str | None = None
    """The fault it met."""


class Counters:
    """Counts requests and remembers the latest of them; may be waited for."""

    def __init__(self) -> None:
        self._changed = Changed()
        self._totals: Counter[str] = Counter()
        self._by_customer: dict[str, Counter[str]] = {}
        self.requests: deque[ReceivedRequest] = deque(maxlen=MAX_LOGGED_REQUESTS)

    def record(self, request: ReceivedRequest) -> None:
        """Count and remember one request."""
        kind = request.kind
        if kind not in self._totals and len(self._totals) >= MAX_COUNTED_KINDS:
            kind = OTHERS
        self._totals[kind] += 1
        for customer_id in _bounded(request.customer_ids, self._by_customer):
            self._by_customer.setdefault(customer_id, Counter())[kind] += 1
        self.requests.append(request)
        self._changed.notify()

    def total(self, kind: str) -> int:
        """Count the requests of a kind."""
        return self._totals[kind]

    def of_customer(self, customer_id: str, kind: str) -> int:
        """Count a customer's requests of a kind."""
        return self._by_customer.get(customer_id, Counter[str]())[kind]

    def fetches(self, customer_id: str | None = None) -> int:
        """Count the fetches of entitlements, Edge and GraphQL together, of one customer or of all."""
        if customer_id is None:
            return sum(self.total(kind) for kind in FETCH_KINDS)
        return sum(self.of_customer(customer_id, kind) for kind in FETCH_KINDS)

    async def reached(self, kind: str, count: int, *, timeout_seconds: float = WAIT_SECONDS) -> None:
        """Return once so many requests of a kind have arrived; TimeoutError if they do not."""
        await self._changed.until(lambda: self.total(kind) >= count, timeout_seconds=timeout_seconds)

    def as_json(self) -> dict[str, Any]:
        """Give all counts for the control API."""
        customers = {customer_id: dict(kinds) for customer_id, kinds in self._by_customer.items()}
        return {"totals": dict(self._totals), "customers": customers, "fetches": self.fetches()}

    def reset(self) -> None:
        """Start again from nothing."""
        self._totals.clear()
        self._by_customer.clear()
        self.requests.clear()


def _bounded(customer_ids: Iterable[str], known: dict[str, Counter[str]]) -> set[str]:
    full = len(known) >= MAX_COUNTED_CUSTOMERS
    return {OTHERS if full and customer_id not in known else customer_id for customer_id in customer_ids}
