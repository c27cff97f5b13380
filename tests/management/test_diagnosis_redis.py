"""`doctor` says of a Redis what it will do for a sidecar, and not only that it answers."""

from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from entitlements.config import load
from entitlements.management.diagnosis.finding import Finding, Verdict
from entitlements.management.diagnosis.redis import examine_redis
from entitlements.redis.connection import Client
from tests.redis_fleet import ClusterFleet, port_with_bus
from tests.redis_server import RedisServer


def findings(server: RedisServer, *, password: str | None = None, **variables: str) -> list[Finding]:
    config = load(
        {"OFFLINE": "1", "REDIS_ENVIRONMENT_PREFIX": "p", "REDIS_PORT": str(server.port), **variables}
    ).config
    with closing(redis.Redis(port=server.port, password=password)) as client:
        return list(examine_redis(config, lambda: client))


def reported(found: list[Finding], verdict: Verdict) -> list[str]:
    return [finding.message for finding in found if finding.verdict is verdict]


@pytest.fixture
def server() -> RedisServer:
    return RedisServer()


def test_all_is_well(tmp_path: Path) -> None:
    with RedisServer("--appendonly", "yes", "--dir", str(tmp_path)) as server:
        found = findings(server)

    assert {Verdict.OK} == {finding.verdict for finding in found}
    assert "Redis takes writes" in reported(found, Verdict.OK)
    assert "it keeps the outbox over a restart, and when its memory is full" in reported(found, Verdict.OK)


def test_what_a_restart_would_lose_is_a_warning(server: RedisServer) -> None:
    """Where there is an outbox; one that may not be asked is passed over."""
    with server:
        server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        restart, full = reported(findings(server), Verdict.WARNING)
        without_outbox = findings(server, SIDECAR_OUTBOX="off")
        server.command("ACL", "SETUSER", "default", "-info", "-config")
        unasked = findings(server)

    assert restart.startswith("a restart of it loses all that waits in the outbox")
    assert full.startswith("once its memory is full it evicts the outbox")
    assert [] == reported(without_outbox, Verdict.WARNING)
    assert ["it may not be asked (INFO) whether it keeps the outbox over a restart"] == reported(
        unasked, Verdict.SKIPPED
    )


def test_a_node_of_a_cluster_is_one_fault(tmp_path: Path) -> None:
    """It takes some writes, by chance of the key: that says nothing."""
    with RedisServer("--cluster-enabled", "yes", "--dir", str(tmp_path), port=port_with_bus()) as server:
        found = findings(server)

    (fault,) = reported(found, Verdict.FAULT)
    assert "it is a node of a Redis Cluster" in fault
    assert "Redis takes writes" not in reported(found, Verdict.OK)


def test_a_cluster_is_examined_as_one(cluster: ClusterFleet) -> None:
    """All primaries are asked; names with braces are of the layout there, and others are not."""
    for name in ("p:{c_a}", "p:{sidecar:outbox}", "p:sidecar:feed-lease", "p:sessions"):
        cluster.primary_of(name).command("SET", name, "{}")
    nodes = ",".join(f"{host}:{port}" for host, port in cluster.addresses)
    config = load(
        {
            "OFFLINE": "1",
            "REDIS_ENVIRONMENT_PREFIX": "p",
            "SIDECAR_REDIS_MODE": "cluster",
            "SIDECAR_REDIS_NODES": nodes,
            "SIDECAR_OUTBOX": "off",
        }
    ).config
    with closing(cluster.client()) as client:
        found = list(examine_redis(config, lambda: cast("Client", client)))

    assert "Redis takes writes" in reported(found, Verdict.OK)
    assert f"the Cluster of {nodes.replace(',', ', ')} answers" in reported(found, Verdict.OK)
    (fault,) = reported(found, Verdict.FAULT)
    assert fault.startswith("1 of 6 keys under 'p'")  # two of them are the probe of the writes


def test_what_is_no_cluster_is_one_fault(server: RedisServer) -> None:
    with server:
        node = f"127.0.0.1:{server.port}"
        config = load(
            {
                "OFFLINE": "1",
                "REDIS_ENVIRONMENT_PREFIX": "p",
                "SIDECAR_REDIS_MODE": "cluster",
                "SIDECAR_REDIS_NODES": node,
            }
        ).config
        dial = lambda: redis.RedisCluster(host="127.0.0.1", port=server.port)  # noqa: E731
        found = list(examine_redis(config, cast("Any", dial)))

    (fault,) = found
    assert Verdict.FAULT is fault.verdict
    assert "SIDECAR_REDIS_MODE=plain" in fault.message


@pytest.mark.parametrize(
    ("refused", "named"),
    [("eval", "EVAL"), ("psubscribe", "SUBSCRIBE"), ("publish", "PUBLISH"), ("xreadgroup", "XREADGROUP")],
)
def test_a_command_that_is_refused_is_named(server: RedisServer, refused: str, named: str) -> None:
    with server:
        server.command("ACL", "SETUSER", "default", f"-{refused}")
        found = findings(server)

    assert f"its user may not {named}" in reported(found, Verdict.FAULT)[0]
    assert ("Redis takes writes" in reported(found, Verdict.OK)) is (refused != "eval")


def test_a_refused_password_is_reported_as_such() -> None:
    with RedisServer(password="right") as server:
        (fault,) = findings(server, password="wrong")

    assert "refuses the password" in fault.message


def test_a_certificate_that_nobody_looks_at_is_a_warning(server: RedisServer) -> None:
    with server:
        found = findings(server, REDIS_TLS="1", SIDECAR_REDIS_TLS_VERIFY="off")

    assert "Redis' certificate is not verified (SIDECAR_REDIS_TLS_VERIFY=off)" in reported(
        found, Verdict.WARNING
    )
