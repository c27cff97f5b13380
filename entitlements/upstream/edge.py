"""The Edge: entitlements near you, over REST (contract/upstream.md, Edge REST)."""

from urllib.parse import quote

from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.errors import Garbled, Throttled
from entitlements.domain.ports import Clock, Source
from entitlements.upstream.edge_budget import EdgeBudget
from entitlements.upstream.exchange import Exchange, retrying
from entitlements.upstream.payloads import entity_from_state, state_in
from entitlements.upstream.shares import READS_AT_A_TIME, Share
from entitlements.upstream.transport import CloudTransport

ATTEMPTS = 2
"""The API stands behind: the Edge is not waited for long."""
ATTEMPT_TIMEOUT_SECONDS = 2.0
_HEADERS = {"X-API-VERSION": "1"}


class EdgeSource:
    """An EntitySource."""

    source = Source.EDGE

    def __init__(
        self,
        http: CloudTransport,
        *,
        base_url: str,
        clock: Clock,
        reads_at_a_time: int = READS_AT_A_TIME,
        budget: EdgeBudget | None = None,
    ) -> None:
        """Sends nothing yet; None: no budget bounds what it is asked."""
        self._budget = budget
        share = Share("edge_reads", transport=Source.EDGE.value, at_a_time=reads_at_a_time)
        self._exchange = Exchange(http, transport=Source.EDGE.value, clock=clock, share=share)
        self._base_url = base_url
        self._clock = clock

    async def fetch(self, key: EntityKey, *, budget_seconds: float) -> Entity:
        """The entity's current state; raises UpstreamError."""
        url = f"{self._base_url}/v1/c/{_segment(key.customer_id)}/entitlements-state.json"
        if key.resource_id is not None:
            url += f"?resourceId={quote(key.resource_id, safe='')}"

        async def attempt(timeout_seconds: float) -> Entity:
            if self._budget is not None:
                await self._budget.acquire()
            try:
                data = await self._exchange.data(
                    "GET", url, timeout_seconds=timeout_seconds, headers=_HEADERS
                )
            except Throttled as error:
                if self._budget is not None and error.retry_after_seconds is None:
                    await self._budget.throttled()
                raise
            state = state_in(data)
            if state is None:
                raise Garbled(Source.EDGE.value, "sent an answer without entitlements")
            return entity_from_state(state, now_ms=self._clock.now_ms())

        return await retrying(
            attempt,
            transport=Source.EDGE.value,
            budget_seconds=budget_seconds,
            attempts=ATTEMPTS,
            attempt_timeout_seconds=ATTEMPT_TIMEOUT_SECONDS,
        )

    async def check_health(self, budget_seconds: float) -> None:
        """Returns when the Edge says that it is well, which its limits leave out; raises UpstreamError."""
        await self._exchange.ping(f"{self._base_url}/health", timeout_seconds=budget_seconds)

    async def check_key(self, *, budget_seconds: float) -> None:
        """Returns when the Edge accepts the key; raises UpstreamError."""
        url = f"{self._base_url}/v1/config/server-sdk-configuration.json"
        await self._exchange.data("GET", url, timeout_seconds=budget_seconds, headers=_HEADERS)


def _segment(id_: str) -> str:
    """An id as one path segment; the dots of `.` and `..` too, which clients and proxies would resolve."""
    if id_ in {".", ".."}:
        return id_.replace(".", "%2E")
    return quote(id_, safe="")
