"""Who asks the cloud, and which ways lead to it."""

import os
import uuid
from collections.abc import Mapping

from entitlements.config import SidecarConfig
from entitlements.domain.ports import Clock, EntitySource
from entitlements.upstream.network import Network
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


def sources_in_order(
    config: SidecarConfig, *, edge: EntitySource, api: EntitySource, offline: EntitySource
) -> list[EntitySource]:
    """Where entitlements are fetched from, the first to be asked first."""
    if config.offline:
        return [offline]
    return [edge, api] if config.edge_enabled else [api]
