"""The dashboard and the alerts ask for metrics that a running sidecar exports, by labels that they have."""

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

import entitlements.metrics  # noqa: F401 - registers them
from deploy.prometheus_rule import RUNBOOK_URL
from entitlements.composition.meanings import MEANINGS
from grpc_service.generated import sidecar_pb2 as pb
from tests.harness import CALL_SECONDS, ROOT, Client, SidecarProcess, check

ALERTS = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = ROOT / "deploy/grafana/stigg-sidecar.json"
ADDED_BY_PROMETHEUS = frozenset({"job", "instance", "le"})
MADE_BY_PROMETHEUS = frozenset({"up"})


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> dict[str, str]:
    """Every expression by the name of what shows it."""
    by_alert = {rule["alert"]: rule["expr"] for rule in rules()}
    by_panel = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels()
        for target in panel.get("targets", ())
    }
    return by_alert | by_panel


def parsed(expression: str) -> Any:
    """Grafana's own variables are no PromQL until Grafana has filled them in."""
    return promql_parser.parse(
        expression.replace("$__rate_interval", "5m").replace("$job", "j").replace("$instance", "i")
    )


def parts_of(node: Any) -> Iterator[Any]:
    """A node of an expression, and all below it."""
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "vs", "args", "param"):
        below = getattr(node, name, None)
        for part in below if isinstance(below, list) else [below]:
            if part is not None and not isinstance(part, str):
                yield from parts_of(part)


def selectors_of(node: Any) -> list[Any]:
    found: list[Any] = []
    for part in parts_of(node):
        if isinstance(part, promql_parser.MatrixSelector):
            found.append(part.vector_selector)
        elif isinstance(part, promql_parser.VectorSelector):
            found.append(part)
    return found


def label_names(sample: str) -> frozenset[str]:
    """The labels of a sidecar's metric, and those that Prometheus adds."""
    collector: Any = REGISTRY._names_to_collectors.get(sample)
    own = getattr(collector, "_labelnames", ())
    return ADDED_BY_PROMETHEUS | frozenset(own)


async def test_every_metric_that_is_asked_for_is_exported(sidecar: SidecarProcess) -> None:
    """A renamed metric fails here before an alert falls silent."""
    page = (await sidecar.get("/metrics")).text
    types = dict(line.split()[2:4] for line in page.splitlines() if line.startswith("# TYPE "))
    exported = set(types) | MADE_BY_PROMETHEUS
    for name, kind in types.items():
        if kind == "histogram":
            exported |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}

    asked = {
        (title, selector.name)
        for title, text in expressions().items()
        for selector in selectors_of(parsed(text))
    }

    assert set(expressions()) == {title for title, _ in asked}
    assert set() == {(title, name) for title, name in asked if name not in exported}


@pytest.mark.parametrize(("title", "expression"), expressions().items())
def test_every_label_that_is_asked_for_exists(title: str, expression: str) -> None:
    """Of what is selected by, and of what is grouped by."""
    node = parsed(expression)
    selectors = selectors_of(node)
    assert selectors, title
    known = [label_names(selector.name) for selector in selectors]
    selected = [{matcher.name for matcher in selector.matchers.matchers} for selector in selectors]
    grouped = {
        label
        for part in parts_of(node)
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None
        for label in part.modifier.labels
    }

    assert all(names <= labels for names, labels in zip(selected, known, strict=True)), title
    assert grouped <= frozenset().union(*known), title


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_what_it_means_and_where_to_read_on(rule: dict[str, Any]) -> None:
    """The anchor is the alert's name in lower case."""
    annotations = rule["annotations"]

    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert annotations["summary"]
    assert annotations["description"]
    assert f"{RUNBOOK_URL}#{rule['alert'].lower()}" == annotations["runbook_url"]
    assert f"\n## {rule['alert']}\n" in (ROOT / "docs" / "operating.md").read_text()


NO_PROBLEMS = {"well", "off", "offline", "disabled", "connecting"}
BY_METRICS_OF_THEIR_OWN = {
    *(("outbox", problem) for problem in ("waiting", "dead_letters", "lost")),
    *(("secrets", problem) for problem in ("unreadable", "refused", "untried")),
    ("shadow", "differs"),
    ("drift_audit", "differs"),
    ("overrides", "in_force"),  # once it is older than a day
}
AS_CONFIGURED = {
    ("redis", "unverified"),
    ("redis", "holds_junk"),
    ("shadow", "not_answering"),
}
"""What somebody chose, or does no harm here: pages, `doctor` and the line of the start say so."""


def _matches(selector: Any, labels: dict[str, str]) -> bool:
    """Whether a series with these labels is selected; those that it does not name are left alone."""
    for matcher in selector.matchers.matchers:
        value, op = labels.get(matcher.name), str(matcher.op).rpartition(".")[2]
        if value is None:
            continue
        is_same = bool(re.fullmatch(matcher.value, value)) if "Re" in op else matcher.value == value
        if is_same is ("Not" in op):
            return False
    return True


def test_whatever_problem_a_part_can_have_rings() -> None:
    """Or it is named here with why it does not: an outbox that cannot be opened rang nowhere."""
    selectors = [
        selector
        for rule in rules()
        for selector in selectors_of(parsed(rule["expr"]))
        if selector.name == "sidecar_part_problem"
    ]
    problems = {(part, each) for part, meanings in MEANINGS.items() for each in meanings if each}

    silent = {
        (part, problem)
        for part, problem in problems
        if problem not in NO_PROBLEMS
        and not any(_matches(each, {"part": part, "problem": problem}) for each in selectors)
    }

    assert BY_METRICS_OF_THEIR_OWN | AS_CONFIGURED == silent


def promtool(*arguments: str | Path, page: str = "") -> tuple[int, str]:
    """Prometheus' own word, where it is installed (Debian: prometheus); CI installs it."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run(  # noqa: S603
        [program, *arguments],
        input=page,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    """The parser above is there always; this one is Prometheus' own."""
    code, output = promtool("check", "rules", ALERTS)

    assert 0 == code, output
    assert f"{len(rules())} rules found" in output, output


def test_each_rule_reports_what_it_should_and_nothing_else() -> None:
    """A busy service, a quiet one, one that is away, and one with everything wrong: alerts_test.yml."""
    code, output = promtool("test", "rules", ALERTS.with_name("alerts_test.yml"))

    assert 0 == code, output


def test_every_rule_is_seen_firing() -> None:
    """A new rule needs its lines in alerts_test.yml."""
    tried = ALERTS.with_name("alerts_test.yml").read_text()

    assert [] == [rule["alert"] for rule in rules() if f'alertname="{rule["alert"]}"' not in tried]


async def test_promtool_finds_nothing_wrong_with_the_page(sidecar: SidecarProcess, client: Client) -> None:
    """Names, units, help and types of a page with calls, misses and a report on it."""
    await check(client, "customer-1")
    request = pb.ReportUsageRequest(customer_id="customer-1", feature_id="m", value=1)
    with contextlib.suppress(grpc.aio.AioRpcError):
        await client.ReportUsage(request, timeout=CALL_SECONDS)

    page = (await sidecar.get("/metrics")).text

    assert (0, "") == promtool("check", "metrics", page=page)


def test_panels_are_numbered_once_and_show_something() -> None:
    """Grafana drops one of two panels with the same id."""
    ids = [panel["id"] for panel in panels()]

    assert len(set(ids)) == len(ids)
    assert all(panel["targets"] for panel in panels())
