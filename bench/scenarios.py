"""What is measured, as data: the questions, and the circumstances in which they are asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from grpc_service.generated import sidecar_pb2 as pb

SERVICE = "stigg.sidecar.v1.SidecarService"
CONNECTIONS = 4
IN_FLIGHT = (1, 50)
"""Requests under way on each connection."""
MANY = (1, 6)
"""The same where there are 32 connections."""
CUSTOMERS = 10_000
"""Among so many customers the varied load chooses."""
FEED_CUSTOMERS = 100
"""The feed sends changes of a number of customers in turn; the one that is asked about is one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request, and what a right answer to it looks like."""

    method: str
    request: Message
    reply_type: type[Message]
    is_right: Callable[[Any], bool]

    @property
    def path(self) -> str:
        """As on the wire."""
        return f"/{SERVICE}/{self.method}"


def customer_with(entitlements: int) -> str:
    """The id of the customer with so many entitlements."""
    return f"customer-{entitlements}"


def boolean(entitlements: int = 10) -> Question:
    """May it use this feature?"""
    request = pb.GetBooleanEntitlementRequest(
        customer_id=customer_with(entitlements), feature_id="feature-boolean"
    )
    return Question(
        method="GetBooleanEntitlement",
        request=request,
        reply_type=pb.GetBooleanEntitlementResponse,
        is_right=lambda reply: reply.has_access and not reply.is_fallback,
    )


def numeric() -> Question:
    """How many does it have?"""
    return Question(
        method="GetNumericEntitlement",
        request=pb.GetNumericEntitlementRequest(customer_id=customer_with(10), feature_id="feature-numeric"),
        reply_type=pb.GetNumericEntitlementResponse,
        is_right=lambda reply: reply.has_access and not reply.is_fallback,
    )


def metered() -> Question:
    """May it use one more?"""
    return Question(
        method="GetMeteredEntitlement",
        request=pb.GetMeteredEntitlementRequest(customer_id=customer_with(10), feature_id="feature-metered"),
        reply_type=pb.GetMeteredEntitlementResponse,
        is_right=lambda reply: reply.has_access and not reply.is_fallback,
    )


def enum() -> Question:
    """Which values may it use?"""
    return Question(
        method="GetEnumEntitlement",
        request=pb.GetEnumEntitlementRequest(customer_id=customer_with(10), feature_id="feature-enum"),
        reply_type=pb.GetEnumEntitlementResponse,
        is_right=lambda reply: reply.has_access and not reply.is_fallback,
    )


def generic() -> Question:
    """May it use this feature, of whatever type?"""
    return Question(
        method="GetEntitlement",
        request=pb.GetEntitlementRequest(customer_id=customer_with(10), feature_id="feature-boolean"),
        reply_type=pb.GetEntitlementResponse,
        is_right=lambda reply: reply.has_access and not reply.is_fallback,
    )


def v2(entitlements: int = 10) -> Question:
    """The same in the newer form."""
    return Question(
        method="GetEntitlementV2",
        request=pb.GetEntitlementV2Request(
            customer_id=customer_with(entitlements), feature_id="feature-metered"
        ),
        reply_type=pb.GetEntitlementV2Response,
        is_right=lambda reply: reply.HasField("entitlement"),
    )


def entitlement_list(entitlements: int = 10) -> Question:
    """All that it is entitled to."""
    return Question(
        method="GetEntitlements",
        request=pb.GetEntitlementsRequest(customer_id=customer_with(entitlements)),
        reply_type=pb.GetEntitlementsResponse,
        is_right=lambda reply: len(reply.entitlements) == entitlements,
    )


def state_v2() -> Question:
    """The same in the newer form."""
    return Question(
        method="GetEntitlementsStateV2",
        request=pb.GetEntitlementsStateV2Request(customer_id=customer_with(10)),
        reply_type=pb.GetEntitlementsStateV2Response,
        is_right=lambda reply: len(reply.entitlements) == 10,  # noqa: PLR2004
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """How the sidecar that is asked runs; each different one is a process of its own."""

    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables on top of the usual ones."""
    workers: int = 1
    has_redis: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the table."""

    name: str
    question: Question
    sidecar: Sidecar = Sidecar()
    connections: int = CONNECTIONS
    in_flight: tuple[int, ...] = IN_FLIGHT
    is_varied: bool = False
    """Boolean checks of `CUSTOMERS` customers, Zipf-distributed, instead of one question over and over."""
    one_miss_in: int | None = None
    """Every so many varied requests one is about a customer that nobody asked about before."""
    misses_in_flight: int = 0
    """Beside the load so many checks of customers that are new are under way all the time."""
    feed_events_per_second: int = 0
    compared_with: str | None = None
    """The scenario that this one should keep up with."""

    @property
    def makes_misses(self) -> bool:
        """True where a miss is what is asked for."""
        return self.one_miss_in is not None or self.misses_in_flight > 0


WITHOUT_PROVENANCE = Sidecar(settings={"SIDECAR_PROVENANCE": "0"})
WITH_REDIS = Sidecar(has_redis=True)
SHADOWED = Sidecar(settings={"SIDECAR_SHADOW_ADDRESS": "127.0.0.1:1", "SIDECAR_SHADOW_SAMPLE": "0.1"})
"""Beside another one that is down."""
OVERRIDABLE = Sidecar(settings={"SIDECAR_OVERRIDES": "1"})
"""People may override, and nobody does."""
TWO_WORKERS = Sidecar(has_redis=True, workers=2)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(name="boolean", question=boolean()),
    Scenario(name="metered", question=metered()),
    Scenario(name="v2", question=v2()),
    Scenario(name="numeric", question=numeric()),
    Scenario(name="enum", question=enum()),
    Scenario(name="generic", question=generic()),
    Scenario(name="list", question=entitlement_list()),
    Scenario(name="state-v2", question=state_v2()),
    Scenario(name="v2-100", question=v2(100), compared_with="v2"),
    Scenario(name="v2-1000", question=v2(1000), compared_with="v2"),
    Scenario(name="list-100", question=entitlement_list(100)),
    Scenario(name="list-1000", question=entitlement_list(1000)),
    Scenario(name="feed-500", question=metered(), feed_events_per_second=500, compared_with="metered"),
    Scenario(name="miss-storm", question=metered(), misses_in_flight=32, compared_with="metered"),
    Scenario(name="no-provenance", question=boolean(), sidecar=WITHOUT_PROVENANCE, compared_with="boolean"),
    Scenario(name="shadowed", question=boolean(), sidecar=SHADOWED, compared_with="boolean"),
    Scenario(name="overridable", question=boolean(), sidecar=OVERRIDABLE, compared_with="boolean"),
    Scenario(name="redis", question=boolean(), sidecar=WITH_REDIS, compared_with="boolean"),
    # More connections: the kernel spreads them over the workers, and four may all go to one.
    Scenario(name="redis-32", question=boolean(), sidecar=WITH_REDIS, connections=32, in_flight=MANY),
    Scenario(
        name="workers-2",
        question=boolean(),
        sidecar=TWO_WORKERS,
        connections=32,
        in_flight=MANY,
        compared_with="redis-32",
    ),
    Scenario(name="zipf", question=boolean(), is_varied=True),
    Scenario(name="miss-1-in-100", question=boolean(), is_varied=True, one_miss_in=100, compared_with="zipf"),
)
HEADLINE = ("boolean", "metered", "v2")
"""What `python -m bench` measures where nothing is asked for by name."""


def by_name() -> dict[str, Scenario]:
    """The scenarios by their names."""
    return {scenario.name: scenario for scenario in SCENARIOS}
