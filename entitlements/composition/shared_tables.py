"""By what the processes of a deployment share what people set: one database, else one Redis, else nothing."""

from django.db import connection

from entitlements import fallbacks
from entitlements.composition.shared_redis import SharedRedis
from entitlements.overrides import following
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
    if redis is None or is_one_database():
        return None
    name, ttl_seconds = redis.keys.fallback_rules, fallbacks.SHARED_SECONDS
    return SharedRecords(redis.connection, name=name, ttl_seconds=ttl_seconds)


def shared_overrides(redis: SharedRedis | None) -> SharedRecords | None:
    """The overrides of such pods."""
    if redis is None or is_one_database():
        return None
    name, ttl_seconds = redis.keys.overrides, following.SHARED_SECONDS
    return SharedRecords(redis.connection, name=name, ttl_seconds=ttl_seconds)


def is_one_database() -> bool:
    """A file is a pod's own, also where several pods run."""
    return connection.vendor != "sqlite"
