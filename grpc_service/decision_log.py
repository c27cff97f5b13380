"""One line for a decision: every denial and fallback, a sample of what is granted, within a bound a second.

It looks at what goes over the wire, so that it sees remembered replies as well; where it is off nothing is
wrapped, and nothing is paid.
"""

import logging
from collections.abc import Callable
from random import Random
from typing import Any

from entitlements import metrics
from entitlements.correlation import CALL_METADATA
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.ids import shown_id
from grpc_service.methods import Call, Metadata, Reply, UnaryMethod, answered, on_loop
from grpc_service.reads import READS, ReadTypes

DECISIONS_LOGGER = "decisions"
"""Has a handler of its own: JSON to stdout, whatever LOG_LEVEL and SIDECAR_LOG_FORMAT say."""
GRANTED, DENIED, FALLBACK = "granted", "denied", "fallback"
SHARE_OF_GRANTED = 0.5
"""Of the lines of a second; the rest is kept for what somebody will ask about."""
WINDOW_SECONDS = 1.0

logger = logging.getLogger(DECISIONS_LOGGER)

_CHECKS = {
    name: types for name, types in READS.items() if "options" in types.request.DESCRIPTOR.fields_by_name
}
"""Lists decide nothing of their own, and writes nothing at all."""


class DecisionLog:
    """The decisions of one process; its methods belong to one event loop."""

    def __init__(
        self,
        *,
        sample_rate: float,
        max_per_second: int,
        id_key: bytes | None,
        monotonic: Callable[[], float],
        random: Random,
    ) -> None:
        """Logs nothing yet.

        Args:
            sample_rate: the share of granted decisions that is logged (SIDECAR_DECISION_LOG_SAMPLE_RATE).
            max_per_second: so many lines (SIDECAR_DECISION_LOG_MAX_PER_SECOND).
            id_key: hashes the ids of customers and resources; None shows them (SIDECAR_DECISION_LOG_IDS).
            monotonic: seconds.
            random: for the sample.
        """
        self._sample_rate = sample_rate
        self._max_per_second = max_per_second
        self._id_key = id_key
        self._monotonic = monotonic
        self._random = random
        self._window_began = float("-inf")
        self._written = 0

    def middlewares(self, method: UnaryMethod) -> UnaryMethod:
        """The same method, whose decisions are logged; what decides nothing is returned as it is."""
        name = method.path.rpartition("/")[2]
        types = _CHECKS.get(name)
        if types is None:
            return method

        async def answer(request: bytes, call: Call) -> Reply:
            reply = await answered(method, request, call)
            CALL_METADATA.set(call.metadata)
            self._note(name, types, request, reply)
            return reply

        return UnaryMethod(path=method.path, begin=on_loop(answer))

    def _note(self, name: str, types: ReadTypes, request: bytes, reply: Reply) -> None:
        message, provenance = reply
        response: Any = types.response.FromString(message)
        verdict = response.entitlement if isinstance(response, pb.GetEntitlementV2Response) else response
        outcome = FALLBACK if verdict.is_fallback else GRANTED if verdict.has_access else DENIED
        if outcome == GRANTED and self._random.random() >= self._sample_rate:
            return
        if not self._has_room(outcome):
            metrics.DECISIONS_DROPPED.labels(outcome).inc()
            return
        asked = types.request.FromString(request)
        given = {
            "outcome": outcome,
            "has_access": verdict.has_access,
            "reason": _reason(verdict),
            **self._asked(asked),
            **_provenance(provenance),
            "sample_rate": self._sample_rate if outcome == GRANTED else 1,
        }
        fields = {key: value for key, value in given.items() if value is not None}
        logger.info("decision", extra={"method": name, **fields})

    def _has_room(self, outcome: str) -> bool:
        now = self._monotonic()
        if now - self._window_began >= WINDOW_SECONDS:
            self._window_began, self._written = now, 0
        share = SHARE_OF_GRANTED if outcome == GRANTED else 1
        if self._written >= self._max_per_second * share:
            return False
        self._written += 1
        return True

    def _asked(self, asked: Any) -> dict[str, object]:
        options = getattr(asked, "options", asked)
        return {
            "customer": shown_id(asked.customer_id, self._id_key),
            "resource": shown_id(asked.resource_id, self._id_key) if asked.HasField("resource_id") else None,
            "feature": asked.feature_id or None,
            "currency": getattr(asked, "currency_id", "") or None,
            "requested_usage": getattr(options, "requested_usage", None) or None,
            "requested_values": list(getattr(options, "requested_values", ())) or None,
        }


def _reason(verdict: Any) -> str | None:
    if not verdict.HasField("access_denied_reason"):
        return None
    return pb.AccessDeniedReason.Name(verdict.access_denied_reason).removeprefix("ACCESS_DENIED_REASON_")


def _provenance(metadata: Metadata) -> dict[str, str]:
    return {key.removeprefix("stigg-").replace("-", "_"): value.decode() for key, value in metadata}
