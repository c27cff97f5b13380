"""By what the processes of a deployment share what people set: one database, else one Redis, else nothing."""

from collections.abc import Callable

from django.db import connection

from entitlements import fallbacks
from entitlements.composition.shared_redis import SharedRedis
from entitlements.overrides import following
from entitlements.redis.keys import KeySpace
from entitlements.redis.shared_records import SharedRecords
from entitlements.shared_table import SharedBy


def shared_by(redis: SharedRedis | None) -> SharedBy:
    """By what fallback rules and overrides are shared."""
    if is_one_database():
        return SharedBy.DATABASE
    return SharedBy.POD if redis is None else SharedBy.REDIS


def sharing_context(redis: SharedRedis | None) -> dict[str, object]:
    """What a page says of it."""
    by = shared_by(redis)
    is_silent = redis is not None and by is SharedBy.REDIS and not redis.connection.is_answering
    return {"shared_by": by.value, "is_redis_silent": is_silent}


def shared_rules(redis: SharedRedis | None) -> SharedRecords | None:
    """The fallback rules of pods with databases of their own."""
    return _records(redis, lambda keys: keys.fallback_rules, ttl_seconds=fallbacks.SHARED_SECONDS)


def shared_overrides(redis: SharedRedis | None) -> SharedRecords | None:
    """The overrides of such pods."""
    return _records(redis, lambda keys: keys.overrides, ttl_seconds=following.SHARED_SECONDS)


def is_one_database() -> bool:
    """A file is a pod's own, also where several pods run."""
    return connection.vendor != "sqlite"


def _records(
    redis: SharedRedis | None, name_of: Callable[[KeySpace], str], *, ttl_seconds: int
) -> SharedRecords | None:
    if redis is None or is_one_database():
        return None
    return SharedRecords(redis.connection, name=name_of(redis.keys), ttl_seconds=ttl_seconds)
