"""Where Redis is, in the words of Django's settings."""

from django_redis.cache import RedisCache

from entitlements.redis.address import RedisAddress, Topology, cache_settings, channel_layer_settings
from entitlements.redis.any_node import AnyNodeTlsConnection
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


def test_the_channel_layer_reaches_the_same_redis_under_its_prefix() -> None:
    settings = channel_layer_settings(
        RedisAddress(host="redis.example", db=2, credentials=Credentials(password="p")),
        prefix="production:sidecar:",
    )

    (host,) = settings["CONFIG"]["hosts"]
    assert "redis://redis.example:6379/2" == host["address"]
    assert ("p",) == host["credential_provider"].get_credentials()
    assert "production:sidecar:" == settings["CONFIG"]["prefix"]


def test_a_cluster_and_sentinels_have_their_own_factories() -> None:
    cluster = RedisAddress(
        host="h", nodes=(("a", 1), ("b", 2)), tls=True, credentials=Credentials(password="p")
    )
    sentinel = RedisAddress(host="h", sentinels=(("s", 3),), sentinel_master="m", db=2)

    assert Topology.CLUSTER == cluster.topology
    assert Topology.SENTINEL == sentinel.topology
    assert cache_settings(cluster)["OPTIONS"]["CONNECTION_FACTORY"].endswith(".ClusterFactory")
    assert cache_settings(sentinel)["OPTIONS"]["CONNECTION_FACTORY"].endswith(".SentinelFactory")
    (cluster_host,) = channel_layer_settings(cluster, prefix="p")["CONFIG"]["hosts"]
    assert cluster.nodes == cluster_host["nodes"]
    assert AnyNodeTlsConnection == cluster_host["connection_class"]
    assert cluster_host["ssl_check_hostname"] is True
    (sentinel_host,) = channel_layer_settings(sentinel, prefix="p")["CONFIG"]["hosts"]
    expected = {"master_name": "m", "sentinels": sentinel.sentinels, "db": 2}
    assert expected == {name: sentinel_host[name] for name in expected}


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
