"""How a client comes about where Redis is more than one node: django-redis' connection factories."""

from typing import Any

from django_redis.pool import ConnectionFactory
from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ClusterDownError, SlotNotCoveredError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.sentinel import Sentinel, SentinelConnectionPool

from entitlements.redis.address import RedisAddress, Topology, second_try


class SentinelFactory(ConnectionFactory):
    """Dials the primary that the Sentinels name, anew for each connection.

    django-redis has a factory for this, too, which takes the primary's name from a URL, in lower case.
    """

    def connect(self, url: str) -> Any:
        """A client, which dials on its first use."""
        return _by_sentinels(self.options["ADDRESS"])


class Cluster(RedisCluster):
    """A Cluster whose time-outs are not tried again, as those of a plain node are not."""

    ERRORS_ALLOW_RETRY: Any = (RedisConnectionError, ClusterDownError, SlotNotCoveredError)


class ClusterFactory(ConnectionFactory):
    """Asks some nodes of a Cluster for all others."""

    def connect(self, url: str) -> Any:
        """A client that knows who has which slot; raises RedisError while no node says so."""
        return _of_cluster(self.options["ADDRESS"])


def dialled(address: RedisAddress) -> Any:
    """A client outside of django-redis' pools; raises RedisError where a Cluster is not reached."""
    match address.topology:
        case Topology.SENTINEL:
            return _by_sentinels(address)
        case Topology.CLUSTER:
            return _of_cluster(address)
        case Topology.PLAIN:
            options = {name: value for name, value in address.connection_options.items() if name != "ssl"}
            return Redis.from_url(address.url, **options)  # which says whether it is TLS


def _by_sentinels(address: RedisAddress) -> Any:
    options = {**address.sentinel_options, "retry": second_try()}
    sentinel = Sentinel(address.sentinels, sentinel_kwargs=options)
    pool = SentinelConnectionPool(
        address.sentinel_master,
        sentinel,
        db=address.db,
        retry=second_try(),
        **address.connection_options,
    )
    return Redis(connection_pool=pool)


def _of_cluster(address: RedisAddress) -> Any:
    return Cluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.nodes],
        retry=second_try(),
        require_full_coverage=False,  # what lost its node is out of order, all else is not
        **address.connection_options,
    )
