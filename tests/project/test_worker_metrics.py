"""Workers count into the files of their place, and a successor goes on where its predecessor stopped."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector

from sidecar_project.worker_metrics import KINDS, PLACE_VARIABLE, count_by_place, forget_gauges, variables
from tests.harness import ROOT

COUNT = """
import os
from sidecar_project.worker_metrics import count_by_place
count_by_place(os.environ)
from entitlements import metrics
metrics.CACHE_HITS.inc(3)
metrics.GRPC_DURATION.labels("M").observe(0.1)
metrics.FEED_CONNECTED.set(1)
"""


def a_worker_counts(folder: Path, place: int) -> None:
    """A process of its own, which ends without a word."""
    environment = {**os.environ, **variables(folder, place)}
    subprocess.run([sys.executable, "-c", COUNT], env=environment, cwd=ROOT, check=True)  # noqa: S603


def sums(folder: Path) -> dict[str, float]:
    """What a scrape would read."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    names = {
        "sidecar_cache_hits_total": {},
        "sidecar_feed_connected": {},
        "sidecar_grpc_request_duration_seconds_count": {"method": "M"},
    }
    found = {name: registry.get_sample_value(name, labels) for name, labels in names.items()}
    return {name: value for name, value in found.items() if value is not None}


def test_a_crash_loop_makes_no_new_files_and_counters_never_fall(tmp_path: Path) -> None:
    a_worker_counts(tmp_path, 0)
    a_worker_counts(tmp_path, 1)
    files = {file.name for file in tmp_path.iterdir()}

    for _ in range(3):
        forget_gauges(tmp_path, 1)
        a_worker_counts(tmp_path, 1)

    assert files == {file.name for file in tmp_path.iterdir()}
    assert {
        "sidecar_cache_hits_total": 15,
        "sidecar_feed_connected": 1,
        "sidecar_grpc_request_duration_seconds_count": 5,
    } == sums(tmp_path)


def test_gauges_of_a_dead_worker_are_forgotten(tmp_path: Path) -> None:
    """Its counts stay."""
    a_worker_counts(tmp_path, 0)

    forget_gauges(tmp_path, 0)

    assert {
        "sidecar_cache_hits_total": 3,
        "sidecar_grpc_request_duration_seconds_count": 1,
    } == sums(tmp_path)


def test_room_is_taken_on_the_disk(tmp_path: Path) -> None:
    """Every byte of every file has its block; a file that is missing here would be sparse."""
    a_worker_counts(tmp_path, 0)

    files = {file.name: file.stat() for file in tmp_path.iterdir()}
    assert {f"{kind}_0.db" for kind in KINDS} == files.keys()
    assert [] == [name for name, stat in files.items() if stat.st_blocks * 512 < stat.st_size]


def test_without_room_a_worker_counts_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves all the same; no folder is named any more, so that a scrape shows its own counts."""

    def no_room(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    monkeypatch.setattr(values, "ValueClass", None)
    environment = {**variables(tmp_path, 0)}

    count_by_place(environment)

    assert {PLACE_VARIABLE: "0"} == environment
    assert values.MutexValue is values.ValueClass


def test_a_folder_that_is_not_of_our_making_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library ended the process over a folder that is not there."""
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    environment = {"PROMETHEUS_MULTIPROC_DIR": "/missing"}

    count_by_place(environment)

    assert {} == environment
    assert values.MutexValue == values.ValueClass
