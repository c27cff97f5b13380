"""Where Redis is, as Django's CACHES take it; read while the settings are made."""

import enum
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote

from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from entitlements.redis.credentials import Credentials
from entitlements.redis.patience import MOST_SECONDS

HostPort: TypeAlias = tuple[str, int]

SOCKET_SECONDS = MOST_SECONDS
"""One that takes so long to connect or to answer is out of order; who asks may wait for less."""


class Topology(enum.Enum):
    """What kind of Redis it is; the values are shown in `/readyz?verbose`."""

    PLAIN = "plain"
    """One node, or what stands for one, such as a proxy or a name that moves."""
    SENTINEL = "sentinel"
    """A primary and its replicas; Sentinels say which one is the primary."""
    CLUSTER = "cluster"
    """Several primaries, each with a part of all keys."""


_FACTORIES = {Topology.SENTINEL: "SentinelFactory", Topology.CLUSTER: "ClusterFactory"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """The REDIS_* variables, and ours."""

    host: str
    port: int = 6379
    db: int = 0
    credentials: Credentials = field(default_factory=Credentials)
    tls: bool = False
    tls_ca_file: str | None = None
    """An authority that is trusted besides the machine's."""
    tls_verify: bool = True
    """False: whoever answers is taken for Redis."""
    tls_cert_file: str | None = None
    """What this process shows of itself, where Redis asks for it; with `tls_key_file`."""
    tls_key_file: str | None = None
    nodes: tuple[HostPort, ...] = ()
    """Of a Cluster: some of its nodes, which name all others; empty: it is none."""
    sentinels: tuple[HostPort, ...] = ()
    """Who is asked for the primary; empty: nobody."""
    sentinel_master: str = ""
    """What the Sentinels call it."""
    sentinel_username: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)

    @property
    def topology(self) -> Topology:
        """What is spoken to."""
        if self.nodes:
            return Topology.CLUSTER
        return Topology.SENTINEL if self.sentinels else Topology.PLAIN

    @property
    def url(self) -> str:
        """The address without credentials, which no error should show."""
        scheme = "rediss" if self.tls else "redis"
        host = f"[{self.host}]" if ":" in self.host else quote(self.host)
        return f"{scheme}://{host}:{self.port}/{self.db}"

    @property
    def connection_options(self) -> dict[str, Any]:
        """What each connection to Redis itself is made with, beside where it goes."""
        return {
            **self.credentials.options,
            "socket_timeout": SOCKET_SECONDS,
            "socket_connect_timeout": SOCKET_SECONDS,
            "socket_keepalive": True,
            **self.tls_options,
        }

    @property
    def sentinel_options(self) -> dict[str, Any]:
        """What each connection to a Sentinel is made with."""
        options = {
            **self.connection_options,
            "username": self.sentinel_username,
            "password": self.sentinel_password,
        }
        options.pop("credential_provider", None)
        return options

    @property
    def tls_options(self) -> dict[str, Any]:
        """As both of redis-py's clients take them; the files are read anew for every connection."""
        return {"ssl": True, **self._verification} if self.tls else {}

    @property
    def _verification(self) -> dict[str, object]:
        options: dict[str, object] = {
            "ssl_cert_reqs": "required" if self.tls_verify else "none",
            "ssl_check_hostname": self.tls_verify,
            "ssl_ca_certs": self.tls_ca_file,
            "ssl_certfile": self.tls_cert_file,
            "ssl_keyfile": self.tls_key_file,
        }
        return {name: value for name, value in options.items() if value is not None} if self.tls else {}


def cache_settings(address: RedisAddress) -> dict[str, Any]:
    """The entry of CACHES: raw keys, plain JSON, our time-outs."""
    settings: dict[str, Any] = {
        "BACKEND": "django_redis.cache.RedisCache",
        # django-redis shares pools by URL, whatever the options are: the time-outs in it make this pool ours.
        "LOCATION": f"{address.url}?socket_timeout={SOCKET_SECONDS}&socket_connect_timeout={SOCKET_SECONDS}",
        "KEY_FUNCTION": "entitlements.redis.keys.raw_key",
    }
    if address.topology is Topology.PLAIN:
        options: dict[str, Any] = {
            "CONNECTION_POOL_KWARGS": {
                **address.credentials.options,
                "retry": second_try(),
                "socket_keepalive": True,
                **address._verification,
            },
        }
    else:
        factory = f"entitlements.redis.factories.{_FACTORIES[address.topology]}"
        options = {"CONNECTION_FACTORY": factory, "ADDRESS": address}
    serializer = {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}
    return {**settings, "OPTIONS": {**serializer, **options}}


def second_try() -> Retry:
    """A pooled connection that Redis closed meanwhile deserves a second try; a time-out does not."""
    return Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
