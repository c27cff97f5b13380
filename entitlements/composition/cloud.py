"""Who asks the cloud, and which ways lead to it."""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from entitlements.config import SidecarConfig
from entitlements.domain.ports import Clock, EntitySource, Source
from entitlements.service.circuits import Circuits, Probe
from entitlements.service.key_check import KeyCheck
from entitlements.upstream.edge import EdgeSource
from entitlements.upstream.graphql import REPORT_ATTEMPTS, GraphqlApi, api_deliveries, api_reads, api_writes
from entitlements.upstream.network import Network
from entitlements.upstream.shares import Share
from entitlements.upstream.transport import CloudTransport

VERSION = "0.1.0"
_INSTANCE_ID = str(uuid.uuid4())


def identity_headers(config: SidecarConfig) -> Mapping[str, str]:
    """The headers that say who asks (contract/upstream.md)."""
    return {
        "X-API-KEY": config.server_api_key.get_secret_value(),
        "X-SDK-INSTANCE-ID": _INSTANCE_ID,
        "User-Agent": f"stigg-sidecar-python/{VERSION}",
    }


def cloud_transport(config: SidecarConfig, clock: Clock) -> CloudTransport:
    """The connections to the cloud, by the proxies and the authorities of the environment."""
    return CloudTransport(
        identity=identity_headers(config),
        network=Network.of(os.environ),
        monotonic=clock.monotonic,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudParts:
    """The ways to the cloud, and what is known of them."""

    http: CloudTransport
    edge: EdgeSource
    api: GraphqlApi
    deliveries: GraphqlApi
    """The same API, with a share of requests of its own, for what the outbox delivers."""
    circuits: Circuits
    key_check: KeyCheck
    edge_enabled: bool
    offline: bool

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


def ways_to_the_cloud(config: SidecarConfig, clock: Clock) -> CloudParts:
    """The connections, the sources upon them and their circuits; nothing is sent."""
    http, reads_at_a_time = cloud_transport(config, clock), config.sidecar_fetch_concurrency
    key_check = KeyCheck(clock=clock)
    circuits = Circuits(_sources(config), clock=clock, doubt_key=key_check.doubt)

    def api(*, reads: Share, writes: Share, write_attempts: int = REPORT_ATTEMPTS) -> GraphqlApi:
        return GraphqlApi(
            http,
            base_url=config.api_url,
            clock=clock,
            reads=reads,
            writes=writes,
            write_attempts=write_attempts,
            answered=circuits.api_answered,
        )

    return CloudParts(
        http=http,
        edge=EdgeSource(http, base_url=config.edge_api_url, clock=clock, reads_at_a_time=reads_at_a_time),
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
