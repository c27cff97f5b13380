"""Where Redis is, as Django's CACHES and CHANNEL_LAYERS take it; read while the settings are made."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from entitlements.redis.patience import MOST_SECONDS

SOCKET_SECONDS = MOST_SECONDS
"""One that takes so long to connect or to answer is out of order; who asks may wait for less."""


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
    """An authority that is trusted besides the machine's."""
    tls_verify: bool = True
    """False: whoever answers is taken for Redis."""
    tls_cert_file: str | None = None
    """What this process shows of itself, where Redis asks for it; with `tls_key_file`."""
    tls_key_file: str | None = None

    @property
    def url(self) -> str:
        """The address without credentials, which no error should show."""
        scheme = "rediss" if self.tls else "redis"
        host = f"[{self.host}]" if ":" in self.host else quote(self.host)
        return f"{scheme}://{host}:{self.port}/{self.db}"

    @property
    def _tls_options(self) -> dict[str, object]:
        """As both of redis-py's clients take them; the files are read anew for every connection."""
        if not self.tls:
            return {}
        options: dict[str, object] = {
            "ssl_cert_reqs": "required" if self.tls_verify else "none",
            "ssl_check_hostname": self.tls_verify,
            "ssl_ca_certs": self.tls_ca_file,
            "ssl_certfile": self.tls_cert_file,
            "ssl_keyfile": self.tls_key_file,
        }
        return {name: value for name, value in options.items() if value is not None}


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
    """The entry of CHANNEL_LAYERS for what the processes of one prefix send each other."""
    host = {
        "address": address.url,
        "username": address.username,
        "password": address.password,
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": SOCKET_SECONDS,
        "retry": AsyncRetry(NoBackoff(), 0),  # what could not be sent is known to be missing by its number
        **address._tls_options,
    }
    return {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [host], "prefix": prefix},
    }
