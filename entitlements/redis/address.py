"""Where Redis is, as Django's CACHES and CHANNEL_LAYERS want to be told; read while the settings are made."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

SOCKET_SECONDS = 0.2
"""Redis answers within a millisecond; one that takes so long to connect or to answer is out of order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """The REDIS_* variables."""

    host: str
    port: int = 6379
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    tls_ca_file: str | None = None
    """For a certificate of one's own; None for the machine's authorities."""

    @property
    def url(self) -> str:
        """The address without credentials, which no error should show."""
        scheme = "rediss" if self.tls else "redis"
        host = f"[{self.host}]" if ":" in self.host else quote(self.host)
        return f"{scheme}://{host}:{self.port}/{self.db}"

    @property
    def _tls_options(self) -> dict[str, object]:
        return {"ssl_ca_certs": self.tls_ca_file} if self.tls and self.tls_ca_file else {}


def cache_settings(address: RedisAddress) -> dict[str, Any]:
    """The entry of CACHES: raw keys, plain JSON, our time-outs."""
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        # django-redis shares pools by URL, whatever the options are: the time-outs in it make this pool ours.
        "LOCATION": f"{address.url}?socket_timeout={SOCKET_SECONDS}&socket_connect_timeout={SOCKET_SECONDS}",
        "KEY_FUNCTION": "entitlements.redis.keys.raw_key",
        "OPTIONS": {
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            "USERNAME": address.username,
            "PASSWORD": address.password,
            "CONNECTION_POOL_KWARGS": {
                # A pooled connection that Redis closed meanwhile deserves a second try; a time-out does not.
                "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
                "socket_keepalive": True,
                **address._tls_options,
            },
        },
    }


def channel_layer_settings(address: RedisAddress, *, prefix: str) -> dict[str, Any]:
    """The entry of CHANNEL_LAYERS for what the processes of one prefix tell each other."""
    host = {
        "address": address.url,
        "username": address.username,
        "password": address.password,
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": SOCKET_SECONDS,
        "retry": AsyncRetry(NoBackoff(), 0),  # what could not be told is known to be missing by its number
        **address._tls_options,
    }
    return {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [host], "prefix": prefix},
    }
