"""deploy/: Kubernetes manifests against the published schemas, and what no schema knows.

The operator's own kinds have no schema among them; both were decoded once, unknown fields refused, by the
operator's Go types (prometheus-operator/pkg/apis/monitoring 0.95.1).
"""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.prometheus_rule import prometheus_rule
from entitlements.config import SidecarConfig
from entitlements.config.variables import SECRETS, variable_names
from entitlements.outbox.outbox_file import RESERVE_BYTES
from tests.harness import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
DOCUMENTS = {
    f"{file.name}: {document['kind']}": document
    for file in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text())
}
PODS = {
    name: document["spec"]["template"]["spec"]
    for name, document in DOCUMENTS.items()
    if document["kind"] == "Deployment"
}
OPERATOR = "monitoring.coreos.com/v1"


def _sidecar(pod: dict[str, Any]) -> dict[str, Any]:
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    (sidecar,) = (container for container in containers if container["image"].startswith("stigg-sidecar:"))
    return dict(sidecar)


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
@pytest.mark.parametrize(
    "name", [name for name, found in DOCUMENTS.items() if found["apiVersion"] != OPERATOR]
)
def test_schema(name: str, version: str) -> None:
    """Kubernetes knows every field."""
    kubernetes_validate.validate(DOCUMENTS[name], version, strict=True)


def test_every_kind_is_there() -> None:
    """What the two ways of running need."""
    expected = {"Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"}
    assert expected | {"ServiceMonitor", "Secret"} == {found["kind"] for found in DOCUMENTS.values()}


@pytest.mark.parametrize("name", PODS)
def test_pod_is_locked_down(name: str) -> None:
    """Not root, nothing to gain, one place to write, and port 80 open all the same."""
    pod, sidecar = PODS[name], _sidecar(PODS[name])
    security = pod["securityContext"] | sidecar["securityContext"]

    assert security["runAsNonRoot"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert {"drop": ["ALL"]} == security["capabilities"]
    assert [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}] == security["sysctls"]
    assert not pod["enableServiceLinks"]
    assert "/data" in {mount["mountPath"] for mount in sidecar["volumeMounts"]}
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(sidecar)


@pytest.mark.parametrize("name", PODS)
def test_variables_are_known_and_secrets_are_references(name: str) -> None:
    """No misspelt variable, no secret in a file."""
    for variable in _sidecar(PODS[name])["env"]:
        assert variable["name"] in variable_names()
        assert (variable["name"] in SECRETS) == ("secretKeyRef" in variable.get("valueFrom", {}))


def test_native_sidecar() -> None:
    """An init container that stays."""
    (container,) = PODS["in-your-pod.yaml: Deployment"]["initContainers"]
    assert "Always" == container["restartPolicy"]


def test_selectors_meet() -> None:
    """Service, budget, policy and monitor all select the standalone pods, by ports that exist."""
    labels = {"app.kubernetes.io/name": "stigg-sidecar"}
    deployment = DOCUMENTS["standalone.yaml: Deployment"]
    service = DOCUMENTS["standalone.yaml: Service"]
    monitor = DOCUMENTS["service-monitor.yaml: ServiceMonitor"]["spec"]
    policy = DOCUMENTS["network-policy.yaml: NetworkPolicy"]["spec"]
    ports = {port["name"] for port in _sidecar(PODS["standalone.yaml: Deployment"])["ports"]}

    assert labels == deployment["spec"]["template"]["metadata"]["labels"]
    assert labels == service["spec"]["selector"]
    assert labels == DOCUMENTS["standalone.yaml: PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]
    assert labels == policy["podSelector"]["matchLabels"]
    assert labels == monitor["selector"]["matchLabels"]
    assert labels == service["metadata"]["labels"]
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= ports
    assert (
        deployment["metadata"]["name"]
        == (DOCUMENTS["autoscaling.yaml: HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"])
    )


def test_prometheus_rule() -> None:
    """The operator's form is the same rules under `spec`."""
    alerts = "groups:\n  - name: a\n\n    rules:\n      - {alert: B, expr: up == 0}\n"

    rule = yaml.safe_load(prometheus_rule(alerts))

    assert OPERATOR == rule["apiVersion"]
    assert "PrometheusRule" == rule["kind"]
    assert yaml.safe_load(alerts) == rule["spec"]


def test_compose() -> None:
    """Its files exist, its images have versions, its variables are known; the sidecar is locked down."""
    file = ROOT / "deploy" / "compose.yaml"
    services = yaml.safe_load(file.read_text())["services"]
    sidecar = services["sidecar"]

    assert {"sidecar", "redis", "prometheus", "grafana"} == set(services)
    for service in services.values():
        assert ":" in service["image"]
        assert not service["image"].endswith(":latest")
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (file.parent / source).is_dir()
    assert (file.parent / sidecar["build"]["context"]).resolve() == ROOT
    assert set(sidecar["environment"]) <= set(variable_names())
    assert sidecar["environment"]["SERVER_API_KEY"].startswith("${")
    assert sidecar["read_only"] is True
    assert ["ALL"] == sidecar["cap_drop"]


def test_the_redis_of_compose_keeps_what_was_promised() -> None:
    """The outbox lies in it: a restart or a full memory must not lose an event that was answered OK."""
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    redis = compose["services"]["redis"]
    options = dict(zip(redis["command"][1::2], redis["command"][2::2], strict=True))

    assert "yes" == options["--appendonly"]
    assert "volatile-lru" == options["--maxmemory-policy"]
    assert ["redis-data:/data"] == redis["volumes"]
    assert "redis-data" in compose["volumes"]


def test_prometheus_reads_the_alerts_that_are_mounted() -> None:
    """Its rule files lie where compose puts the folder."""
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())

    assert {Path("/etc/prometheus")} == {Path(name).parent for name in config["rule_files"]}
    assert ["sidecar:8080"] == config["scrape_configs"][0]["static_configs"][0]["targets"]


def test_the_volume_holds_the_largest_outbox() -> None:
    """A file takes up to twice its bound (entries of 2 kB), its journal and the room that is kept back.

    Measured at the former default of 256 MiB: 137 MiB of small entries, 291 of middling, 506 of the worst.
    """
    bound = SidecarConfig.model_fields["sidecar_outbox_max_bytes"].default
    volumes = [volume for pod in PODS.values() for volume in pod["volumes"]]
    limits = [each["emptyDir"]["sizeLimit"] for each in volumes if each["name"] == "stigg-sidecar-data"]
    sizes = [int(limit[:-2]) * {"Mi": 2**20, "Gi": 2**30}[limit[-2:]] for limit in limits]

    assert len(PODS) == len(sizes)
    assert 2 * bound + 2 * RESERVE_BYTES < min(sizes)
