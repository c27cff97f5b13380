"""Which node has a key, and what is done to all of them. Where Redis is one node, its client stands for it.

A Cluster's own client finds the node for each command by itself; this is for what must be known beside that.
"""

from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException
from redis.sentinel import SentinelConnectionPool

WHOLE = ""
"""The name of the node where there is only one, and of one that is not known."""


def node_name(client: Redis | None, key: bytes) -> str:
    """Who has this key, by the last list of slots."""
    cluster = _cluster(client)
    if cluster is None:
        return WHOLE
    try:
        name: str = cluster.get_node_from_key(key).name
    except RedisClusterException:  # nobody has it at present
        return WHOLE
    return name


def node_names(client: Redis | None) -> frozenset[str]:
    """All that have keys."""
    cluster = _cluster(client)
    return frozenset({WHOLE} if cluster is None else {node.name for node in cluster.get_primaries()})


def primaries(client: Redis) -> Sequence[Redis]:
    """A client of each node that has keys, always in the same order."""
    cluster = _cluster(client)
    if cluster is None:
        return [client]
    return [_client_of(cluster, node) for node in sorted(cluster.get_primaries(), key=lambda node: node.name)]


def node_of(client: Redis, key: bytes) -> Redis:
    """A client of the node alone that has this key; raises RedisClusterException where none has."""
    cluster = _cluster(client)
    return client if cluster is None else _client_of(cluster, cluster.get_node_from_key(key))


def primary_named(client: Redis, name: str) -> Redis | None:
    """A client of one of `node_names`; None where it has no keys any more."""
    cluster = _cluster(client)
    if cluster is None:
        return client
    node = cluster.get_node(node_name=name)
    return None if node is None else _client_of(cluster, node)


def name_again(client: Redis | None) -> None:
    """Has a Cluster name its nodes anew; raises RedisError, or RedisClusterException, where none does."""
    cluster = _cluster(client)
    if cluster is not None:
        cluster.nodes_manager.initialize()


def give_up_idle(client: Redis | None) -> None:
    """Closes the connections that nobody uses just now; a Cluster's client sees to that by itself."""
    if client is not None and _cluster(client) is None:
        client.connection_pool.disconnect(inuse_connections=False)


def close(client: Redis) -> None:
    """Closes all connections."""
    cluster = _cluster(client)
    if cluster is not None:
        cluster.disconnect_connection_pools()
        return
    pool = client.connection_pool
    pool.disconnect()
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            sentinel.close()


def seed_again(client: Redis) -> None:
    """Has a Cluster's client ask those first-named nodes as well, where all that it knew are gone.

    They may be names that lead elsewhere by now, as those of a service whose pods all moved.
    """
    cluster = _cluster(client)
    if cluster is not None:
        for node in cluster.startup_nodes:
            cluster.nodes_manager.startup_nodes.setdefault(node.name, node)


def _cluster(client: object) -> RedisCluster | None:
    return client if isinstance(client, RedisCluster) else None


def _client_of(cluster: RedisCluster, node: Any) -> Redis:
    found: Redis = cluster.get_redis_connection(node)
    return found
