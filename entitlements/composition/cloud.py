"""Who asks the cloud, and which ways lead to it."""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from entitlements.config import SidecarConfig
from entitlements.domain.errors import UpstreamError
from entitlements.domain.ports import Clock, EntitySource, Source
from entitlements.service.circuits import Circuits, Probe
from entitlements.service.key_check import CHECK_BUDGET_SECONDS, KeyCheck, KeyVerdict, verdict_of
from entitlements.upstream.edge import EdgeSource
from entitlements.upstream.edge_budget import EdgeBudget
from entitlements.upstream.graphql import REPORT_ATTEMPTS, GraphqlApi, api_deliveries, api_reads, api_writes
from entitlements.upstream.identity import Identity
from entitlements.upstream.network import Network
from entitlements.upstream.shares import Share
from entitlements.upstream.transport import CloudTransport

VERSION = "0.1.0"
_INSTANCE_ID = str(uuid.uuid4())


def cloud_transport(config: SidecarConfig, clock: Clock) -> CloudTransport:
    """The connections to the cloud, by the proxies and the authorities of the environment."""
    return CloudTransport(
        identity=Identity(
            config.server_api_key.get_secret_value(),
            instance_id=_INSTANCE_ID,
            user_agent=f"stigg-sidecar-python/{VERSION}",
        ),
        network=Network.of(os.environ),
        monotonic=clock.monotonic,
    )


async def key_verdict(key: str, http: CloudTransport, config: SidecarConfig, clock: Clock) -> KeyVerdict:
    """What the API says of another key than the one in use."""
    async with CloudTransport(
        identity=http.identity.with_key(key), network=http.network, monotonic=clock.monotonic
    ) as trial:
        try:
            api = GraphqlApi(trial, base_url=config.api_url, clock=clock)
            await api.check_key(budget_seconds=CHECK_BUDGET_SECONDS)
        except UpstreamError as error:
            return verdict_of(error)
    return KeyVerdict.VALID


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudParts:
    """The ways to the cloud, and what is known of them."""

    http: CloudTransport
    edge: EdgeSource
    edge_budget: EdgeBudget
    api: GraphqlApi
    deliveries: GraphqlApi
    """The same API, with a share of requests of its own, for what the outbox delivers."""
    circuits: Circuits
    key_check: KeyCheck
    edge_enabled: bool
    offline: bool

    @property
    def asks_edge(self) -> bool:
        """True when entitlements come from the Edge first."""
        return self.edge_enabled and not self.offline

    def sources(self, offline: EntitySource) -> list[EntitySource]:
        """Where entitlements are fetched from, the first to be asked first."""
        if self.offline:
            return [offline]
        return [self.edge, self.api] if self.edge_enabled else [self.api]

    def probes(self) -> Mapping[Source, Probe]:
        """How each source is asked whether it is back, while its circuit is open."""
        if self.offline:
            return {}
        api: dict[Source, Probe] = {Source.API: lambda seconds: self.api.check_key(budget_seconds=seconds)}
        return api | {Source.EDGE: self.edge.check_health} if self.edge_enabled else api


def ways_to_the_cloud(config: SidecarConfig, clock: Clock, edge_budget: EdgeBudget) -> CloudParts:
    """The connections, the sources upon them and their circuits; nothing is sent."""
    http, reads_at_a_time = cloud_transport(config, clock), config.sidecar_fetch_concurrency
    key_check = KeyCheck(clock=clock)
    circuits = Circuits(
        _sources(config),
        clock=clock,
        doubt_key=key_check.doubt,
        max_unverified_seconds=config.sidecar_max_unverified_seconds,
    )

    def api(*, reads: Share, writes: Share, write_attempts: int = REPORT_ATTEMPTS) -> GraphqlApi:
        return GraphqlApi(
            http,
            base_url=config.api_url,
            clock=clock,
            reads=reads,
            writes=writes,
            write_attempts=write_attempts,
            answered=partial(circuits.answered, Source.API),
        )

    return CloudParts(
        http=http,
        edge=EdgeSource(
            http,
            base_url=config.edge_api_url,
            clock=clock,
            reads_at_a_time=reads_at_a_time,
            budget=edge_budget,
        ),
        edge_budget=edge_budget,
        api=api(reads=api_reads(reads_at_a_time), writes=api_writes()),
        deliveries=api(reads=api_reads(reads_at_a_time), writes=api_deliveries(), write_attempts=1),
        circuits=circuits,
        key_check=key_check,
        edge_enabled=config.edge_enabled,
        offline=config.offline,
    )


def _sources(config: SidecarConfig) -> list[Source]:
    if config.offline:
        return [Source.OFFLINE]
    return [Source.EDGE, Source.API] if config.edge_enabled else [Source.API]
