"""Prints a PrometheusRule for the Prometheus operator, around deploy/prometheus/alerts.yml.

Usage: python3 deploy/prometheus_rule.py https://ADDRESS/OF/YOUR/docs/operating.md | kubectl apply -f -
"""

import sys
from pathlib import Path

ALERTS = Path(__file__).resolve().parent / "prometheus" / "alerts.yml"
RUNBOOK_URL = "https://git.example.com/stigg-sidecar/blob/main/docs/operating.md"
"""The placeholder in that file."""
_HEAD = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: stigg-sidecar
  labels:
    app.kubernetes.io/name: stigg-sidecar
spec:
"""


def prometheus_rule(alerts: str, *, runbook_url: str = RUNBOOK_URL) -> str:
    """The alerts (a file of Prometheus) as the operator takes them: the same YAML, under `spec`."""
    alerts = alerts.replace(RUNBOOK_URL, runbook_url)
    return _HEAD + "".join(f"  {line}" if line.strip() else line for line in alerts.splitlines(keepends=True))


if __name__ == "__main__":
    sys.stdout.write(prometheus_rule(ALERTS.read_text(), runbook_url=(sys.argv[1:] or [RUNBOOK_URL])[0]))
