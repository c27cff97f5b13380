"""What is wrong between the variables of Redis is reported at once, by name."""

import pytest

from entitlements.config import InvalidConfig, load, redis_place

CLUSTER = {"SIDECAR_REDIS_MODE": "cluster"}


def problems(**environ: str) -> tuple[str, ...]:
    try:
        load({"OFFLINE": "1", **environ}, cache_size_bytes=lambda: 1_000_000)
    except InvalidConfig as invalid:
        return invalid.problems
    return ()


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"SIDECAR_REDIS_SENTINELS": "a:1"}, "SIDECAR_REDIS_SENTINEL_MASTER"),
        ({"SIDECAR_REDIS_SENTINEL_MASTER": "m"}, "SIDECAR_REDIS_SENTINELS"),
        (
            {"SIDECAR_REDIS_SENTINELS": "a:1", "SIDECAR_REDIS_SENTINEL_MASTER": "m", **CLUSTER},
            "a Cluster has no Sentinels",
        ),
        ({"SIDECAR_REDIS_NODES": "a:1"}, "SIDECAR_REDIS_MODE must be cluster"),
        ({"REDIS_DB": "2", **CLUSTER}, "REDIS_DB must be 0"),
        ({"REDIS_ENVIRONMENT_PREFIX": "{p}", **CLUSTER}, "no braces"),
        ({"SIDECAR_REDIS_CERT_FILE": "/dev/null", "REDIS_TLS": "1"}, "SIDECAR_REDIS_KEY_FILE"),
        ({"SIDECAR_REDIS_CA_FILE": "/dev/null"}, "REDIS_TLS must be true"),
        ({"SIDECAR_REDIS_NODES": "a", **CLUSTER}, "a list of host:port"),
        ({"SIDECAR_REDIS_NODES": "redis://a:1", **CLUSTER}, "a list of host:port"),
        ({"SIDECAR_REDIS_NODES": "a:0", **CLUSTER}, "a list of host:port"),
        ({"SIDECAR_REDIS_NODES": ":1", **CLUSTER}, "a list of host:port"),
        ({"SIDECAR_REDIS_MODE": "clustered"}, "SIDECAR_REDIS_MODE"),
    ],
)
def test_a_contradiction_is_one_sentence(environ: dict[str, str], named: str) -> None:
    (problem,) = problems(**environ)

    assert named in problem


@pytest.mark.parametrize(
    "environ",
    [
        CLUSTER,
        {"SIDECAR_REDIS_NODES": "a:1, [::1]:2,", **CLUSTER},
        {"SIDECAR_REDIS_SENTINELS": "a:1,b:2", "SIDECAR_REDIS_SENTINEL_MASTER": "m", "REDIS_DB": "2"},
        {"REDIS_ENVIRONMENT_PREFIX": "{p}", "REDIS_DB": "2"},
    ],
)
def test_what_goes_together_is_taken(environ: dict[str, str]) -> None:
    assert () == problems(**environ)


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"REDIS_HOST": "r", "REDIS_PORT": "1"}, "r port 1"),
        ({"SIDECAR_REDIS_NODES": "a:1,b:2", **CLUSTER}, "the Cluster of a:1, b:2"),
        (
            {"SIDECAR_REDIS_SENTINELS": "a:1", "SIDECAR_REDIS_SENTINEL_MASTER": "m"},
            "the primary m of the Sentinels",
        ),
    ],
)
def test_people_are_reported_where_redis_is_looked_for(environ: dict[str, str], place: str) -> None:
    assert place == redis_place(load({"OFFLINE": "1", **environ}).config)
