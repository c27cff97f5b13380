"""Configuration in, object graph out: the only package that names the concrete parts."""

from entitlements.composition.building import build, configured, sidecar
from entitlements.composition.cloud import VERSION, cloud_transport
from entitlements.composition.outbox import OUTBOX_FILE, OutboxParts, data_dir, metrics_port
from entitlements.composition.process import Sidecar
from entitlements.composition.shared_redis import REDIS_CACHE, SharedRedis

__all__ = [
    "OUTBOX_FILE",
    "REDIS_CACHE",
    "VERSION",
    "OutboxParts",
    "SharedRedis",
    "Sidecar",
    "build",
    "cloud_transport",
    "configured",
    "data_dir",
    "metrics_port",
    "sidecar",
]
