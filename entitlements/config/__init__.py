"""Every variable: type, default, bounds, secrecy; all faults shown at once (contract/operations.md)."""

from entitlements.config.loading import InvalidConfig, LoadedConfig, Origin, load
from entitlements.config.redis_rules import redis_place
from entitlements.config.variables import SECRETS, SidecarConfig

__all__ = ["SECRETS", "InvalidConfig", "LoadedConfig", "Origin", "SidecarConfig", "load", "redis_place"]
