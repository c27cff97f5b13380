"""What the variables of Redis say together, and what is wrong between them."""

from entitlements.config.variables import SidecarConfig


def redis_place(config: SidecarConfig) -> str:
    """Where Redis is looked for, for people."""
    if config.sidecar_redis_mode == "cluster" and config.sidecar_redis_nodes:
        return f"the Cluster of {', '.join(config.sidecar_redis_nodes)}"
    if config.sidecar_redis_sentinels:
        return f"the primary {config.sidecar_redis_sentinel_master} of the Sentinels"
    return f"{config.redis_host} port {config.redis_port}"


def redis_problems(config: SidecarConfig) -> list[str]:
    """One sentence each."""
    return _topology(config) + _cluster(config) + _tls(config)


def _topology(config: SidecarConfig) -> list[str]:
    found = []
    is_cluster = config.sidecar_redis_mode == "cluster"
    if (not config.sidecar_redis_sentinels) != (config.sidecar_redis_sentinel_master is None):
        found.append(
            "SIDECAR_REDIS_SENTINELS and SIDECAR_REDIS_SENTINEL_MASTER belong together; "
            "both must be set, or neither"
        )
    if config.sidecar_redis_sentinels and is_cluster:
        found.append(
            "SIDECAR_REDIS_SENTINELS is set and SIDECAR_REDIS_MODE is 'cluster'; only one of them may be: "
            "a Cluster has no Sentinels"
        )
    if config.sidecar_redis_nodes and not is_cluster:
        found.append(
            "SIDECAR_REDIS_NODES is set without SIDECAR_REDIS_MODE=cluster; "
            "SIDECAR_REDIS_MODE must be cluster for them"
        )
    return found


def _cluster(config: SidecarConfig) -> list[str]:
    if config.sidecar_redis_mode != "cluster":
        return []
    found = []
    prefix = config.redis_environment_prefix
    if config.redis_db:
        found.append(
            f"REDIS_DB is '{config.redis_db}' and SIDECAR_REDIS_MODE is 'cluster'; REDIS_DB must be 0: "
            "a Cluster has no other"
        )
    if prefix is not None and set("{}") & set(prefix):
        found.append(
            f"REDIS_ENVIRONMENT_PREFIX is {prefix!r} and SIDECAR_REDIS_MODE is 'cluster'; it must hold no "
            "braces: they say which keys of a Cluster belong together"
        )
    return found


def _tls(config: SidecarConfig) -> list[str]:
    found = []
    if (config.sidecar_redis_cert_file is None) != (config.sidecar_redis_key_file is None):
        found.append(
            "SIDECAR_REDIS_CERT_FILE and SIDECAR_REDIS_KEY_FILE belong together; both must be set, or neither"
        )
    given = (config.sidecar_redis_ca_file, config.sidecar_redis_cert_file)
    if not config.redis_tls and any(file is not None for file in given):
        found.append(
            "SIDECAR_REDIS_CA_FILE or SIDECAR_REDIS_CERT_FILE is set without REDIS_TLS; "
            "REDIS_TLS must be true for them"
        )
    return found
