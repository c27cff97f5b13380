"""Where Redis is, in the words of Django's settings."""

from django_redis.cache import RedisCache

from entitlements.redis.address import RedisAddress, Topology, cache_settings
from entitlements.redis.credentials import Credentials
from tests.redis_server import RedisServer


def test_the_settings_are_django_redis_own() -> None:
    settings = cache_settings(
        RedisAddress(host="redis.example", port=7000, db=2, credentials=Credentials("u", "p"))
    )

    assert settings["LOCATION"] == (
        "redis://redis.example:7000/2?socket_timeout=1.0&socket_connect_timeout=1.0"
    )
    assert settings["BACKEND"] == "django_redis.cache.RedisCache"
    provider = settings["OPTIONS"]["CONNECTION_POOL_KWARGS"]["credential_provider"]
    assert ("u", "p") == provider.get_credentials()


def test_the_settings_of_tls_and_ipv6() -> None:
    settings = cache_settings(RedisAddress(host="::1", tls=True, tls_ca_file="ca.pem"))

    assert settings["LOCATION"].startswith("rediss://[::1]:6379/0?")
    assert settings["OPTIONS"]["CONNECTION_POOL_KWARGS"]["ssl_ca_certs"] == "ca.pem"


def test_a_cluster_and_sentinels_have_their_own_factories() -> None:
    cluster = RedisAddress(
        host="h", nodes=(("a", 1), ("b", 2)), tls=True, credentials=Credentials(password="p")
    )
    sentinel = RedisAddress(host="h", sentinels=(("s", 3),), sentinel_master="m", db=2)

    assert Topology.CLUSTER == cluster.topology
    assert Topology.SENTINEL == sentinel.topology
    assert cache_settings(cluster)["OPTIONS"]["CONNECTION_FACTORY"].endswith(".ClusterFactory")
    assert cache_settings(sentinel)["OPTIONS"]["CONNECTION_FACTORY"].endswith(".SentinelFactory")


def test_an_address_hides_its_credentials() -> None:
    address = RedisAddress(host="redis.example", credentials=Credentials("somebody", "secret"))

    assert "secret" not in f"{address!r} {address.url}"
    assert "somebody" not in f"{address!r} {address.url}"


def test_django_s_own_cache_writes_raw_keys_and_plain_json(redis: RedisServer) -> None:
    """Whoever uses the cache API on this alias cannot put a pickle or another key there."""
    settings = cache_settings(RedisAddress(host="127.0.0.1", port=redis.port))
    cache = RedisCache(settings.pop("LOCATION"), settings)

    cache.set("production:c_C", {"a": 1}, timeout=None)

    assert redis.texts() == {"production:c_C": '{"a": 1}'}
    cache.client.get_client().connection_pool.disconnect()
