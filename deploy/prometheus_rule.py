"""Prints a PrometheusRule for the Prometheus operator, around deploy/prometheus/alerts.yml.

Usage: python3 deploy/prometheus_rule.py | kubectl apply -f -
"""

import sys
from pathlib import Path

ALERTS = Path(__file__).resolve().parent / "prometheus" / "alerts.yml"
_HEAD = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: stigg-sidecar
  labels:
    app.kubernetes.io/name: stigg-sidecar
spec:
"""


def prometheus_rule(alerts: str) -> str:
    """The alerts (a file of Prometheus) as the operator takes them: the same YAML, under `spec`."""
    return _HEAD + "".join(f"  {line}" if line.strip() else line for line in alerts.splitlines(keepends=True))


if __name__ == "__main__":
    sys.stdout.write(prometheus_rule(ALERTS.read_text()))
