"""The command, once, as short as can be."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.scenarios import SCENARIOS
from tests.harness import ROOT


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - the command itself
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


@pytest.mark.skipif(shutil.which("h2load") is None, reason="apt-get install nghttp2-client brings h2load")
def test_one_short_run(tmp_path: Path) -> None:
    ended = run("feed-500", "--rounds", "1", "--seconds", "1", "--out", str(tmp_path))

    assert ended.returncode == 0, ended.stdout + ended.stderr
    document = json.loads((tmp_path / "results.json").read_text())
    servers = {(row["server"], row["in_flight"]): row for row in document["rows"]}
    assert {"bare aio", "bare cq", "bare cq tuned", "sidecar"} == {server for server, _ in servers}
    assert all(row["per_second"] > 0 and row["cpu_us"] > 0 for row in servers.values())
    assert servers["bare cq", 50]["to_aio"] > 0
    assert (tmp_path / "throughput.svg").exists()


def test_an_unknown_scenario_is_reported() -> None:
    ended = run("nonsense")

    assert ended.returncode == 1
    assert "no such scenario: nonsense" in ended.stderr


def test_scenarios_are_named_once_and_compared_with_others_that_exist() -> None:
    names = [scenario.name for scenario in SCENARIOS]

    assert len(names) == len(set(names))
    assert {scenario.compared_with for scenario in SCENARIOS} - {None} <= set(names)
