"""A Redis process, and parts of ours that speak to it."""

from tests.redis.conftest import clock, connection, own_redis, redis, shared_redis, tier

__all__ = ["clock", "connection", "own_redis", "redis", "shared_redis", "tier"]
