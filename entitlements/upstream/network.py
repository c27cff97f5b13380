"""How this machine reaches others: by which proxies, and whom it trusts."""

from collections.abc import Mapping
from dataclasses import dataclass

from entitlements.upstream.proxies import Proxies
from entitlements.upstream.trust import TrustStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The same for everything that asks the cloud: HTTP and the live feed."""

    proxies: Proxies
    trust: TrustStore

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Network":
        """As an environment says."""
        return cls(proxies=Proxies.of(environment), trust=TrustStore(environment))
