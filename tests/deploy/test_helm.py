"""The Helm chart: rendered by helm itself, held against the schemas, and equal to the plain manifests."""

import json
import shutil
import subprocess
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.prometheus_rule import prometheus_rule
from entitlements.config.variables import SECRETS, variable_names
from tests.harness import ROOT

pytestmark = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")

CHART = ROOT / "deploy/helm/stigg-sidecar"
PLAIN = ROOT / "deploy/kubernetes"
VALUES = {None: None} | {
    file.name.removesuffix("-values.yaml"): file for file in CHART.glob("ci/*-values.yaml")
}
OPERATOR = "monitoring.coreos.com/v1"
NOT_IN_THE_CHART = {"Secret"}
"""Values are no place for a secret: the chart refers to one by its name."""


def helm(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - a tool of this machine
        [shutil.which("helm") or "helm", command, *arguments], capture_output=True, text=True, check=False
    )


@cache
def rendered(values: str | None, *extra: str) -> tuple[dict[str, Any], ...]:
    file = VALUES[values]
    chosen = [] if file is None else ["--values", str(file)]
    done = helm("template", "stigg-sidecar", str(CHART), "--kube-version", "1.33.0", *chosen, *extra)
    assert 0 == done.returncode, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


def of_kind(documents: tuple[dict[str, Any], ...], kind: str) -> dict[str, Any]:
    (found,) = (document for document in documents if document["kind"] == kind)
    return found


def plain(*files: str) -> list[dict[str, Any]]:
    return [
        document
        for file in files
        for document in yaml.safe_load_all((PLAIN / file).read_text())
        if document["kind"] not in NOT_IN_THE_CHART
    ]


@pytest.mark.parametrize("values", VALUES)
def test_lint(values: str | None) -> None:
    file = VALUES[values]

    done = helm("lint", str(CHART), "--strict", *([] if file is None else ["--values", str(file)]))

    assert 0 == done.returncode, done.stdout


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
@pytest.mark.parametrize("values", VALUES)
def test_schema(values: str | None, version: str) -> None:
    """Kubernetes knows every field."""
    for document in rendered(values):
        if document["apiVersion"] != OPERATOR:
            kubernetes_validate.validate(document, version, strict=True)


def test_the_defaults_are_the_plain_manifests() -> None:
    expected = plain("standalone.yaml", "autoscaling.yaml", "network-policy.yaml", "service-monitor.yaml")

    documents = rendered(None, "--set", "serviceMonitor.enabled=true")

    assert sorted(expected, key=str) == sorted(documents, key=str)


def test_in_your_pod_is_the_plain_manifest() -> None:
    assert plain("in-your-pod.yaml") == list(rendered("in-your-pod"))


@pytest.mark.parametrize("values", VALUES)
def test_variables_are_known_and_secrets_are_references(values: str | None) -> None:
    """No misspelt variable, no secret among the values."""
    pod = of_kind(rendered(values), "Deployment")["spec"]["template"]["spec"]
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    named = [variable for container in containers for variable in container.get("env", [])]

    assert "SERVER_API_KEY" in {variable["name"] for variable in named}
    for variable in named:
        assert variable["name"] in variable_names()
        assert (variable["name"] in SECRETS) == ("secretKeyRef" in variable.get("valueFrom", {}))


@pytest.mark.parametrize(
    ("values", "ports", "named"),
    [
        (None, [6379], {"REDIS_HOST"}),
        ("sentinel", [26379, 6379], {"SIDECAR_REDIS_SENTINELS", "SIDECAR_REDIS_SENTINEL_MASTER", "REDIS_DB"}),
        ("cluster", [6379], {"SIDECAR_REDIS_NODES", "SIDECAR_REDIS_MODE", "SIDECAR_REDIS_CA_FILE"}),
    ],
)
def test_each_topology_of_redis_may_be_reached(values: str | None, ports: list[int], named: set[str]) -> None:
    documents = rendered(values)
    (redis,) = (rule for rule in of_kind(documents, "NetworkPolicy")["spec"]["egress"] if "to" in rule)
    pod = of_kind(documents, "Deployment")["spec"]["template"]["spec"]
    variables = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}

    assert ports == [each["port"] for each in redis["ports"]]
    assert named <= set(variables)
    assert ("REDIS_HOST" in variables) == (values is None)
    file = variables.get("SIDECAR_REDIS_CA_FILE") or ""
    mounts = {each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert file == "" or file.rpartition("/")[0] in mounts


def test_alerts_and_dashboard_are_those_of_deploy() -> None:
    """The chart carries the same files, not copies of them."""
    documents = rendered("everything")
    alerts = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    dashboard = json.loads((ROOT / "deploy/grafana/stigg-sidecar.json").read_text())

    assert alerts == of_kind(documents, "PrometheusRule")["spec"]
    assert dashboard == json.loads(of_kind(documents, "ConfigMap")["data"]["stigg-sidecar.json"])


def test_alerts_lead_to_the_runbook_of_whoever_installs_it() -> None:
    """Each of them, by one value; all else is as it was."""
    documents = rendered("everything", "--set", "prometheusRule.runbookUrl=https://wiki.acme.test/sidecar")
    alerts = (ROOT / "deploy/prometheus/alerts.yml").read_text()

    assert "https://wiki.acme.test/sidecar#sidecardown" in str(documents)
    assert (
        yaml.safe_load(prometheus_rule(alerts, runbook_url="https://wiki.acme.test/sidecar"))["spec"]
        == (of_kind(documents, "PrometheusRule")["spec"])
    )


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("mode=both", "mode"),
        ("redis.topology=cluster", "nodes"),
        ("redis.topology=sentinel", "sentinels"),
        ("redis.prot=6379", "prot"),
        ("env.log_level=info", "log_level"),
        ("image.digest=latest", "digest"),
    ],
)
def test_a_wrong_value_is_named(value: str, named: str) -> None:
    done = helm("template", "stigg-sidecar", str(CHART), "--kube-version", "1.33.0", "--set", value)

    assert 0 != done.returncode
    assert named in done.stderr
