"""A process in which something does not end, as a look-up of a name does not; a real one each time."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT, running_sidecar

PROGRAM = """
import threading, time
from sidecar_project import last_resort
last_resort.LEAST_SECONDS = 0.1
threading.Thread(target=time.sleep, args=(600,), name="looks up a name").start()
ending = last_resort.LastResort()
ending.start(0.1)
{drained}
"""


@pytest.mark.parametrize(("drained", "code"), [("ending.calls_ended()", 0), ("", 1)])
def test_a_thread_that_hangs_does_not_hold_up_the_end(drained: str, code: int) -> None:
    """The exit code says whether every call was answered."""
    ended = subprocess.run(  # noqa: S603 - a program of our own
        [sys.executable, "-c", PROGRAM.format(drained=drained)],
        cwd=ROOT,
        timeout=30,
        check=False,
        stderr=subprocess.PIPE,
    )

    assert code == ended.returncode
    assert b"without waiting for MainThread, looks up a name" in ended.stderr


HANGING_LOOKUPS = """
import socket, time
asked = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if str(host).endswith(".nowhere.test"):
        time.sleep(600)
    return asked(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""
CLOUD = {
    "SERVER_API_KEY": "made-up",
    "API_URL": "http://api.nowhere.test",
    "EDGE_API_URL": "http://edge.nowhere.test",
    "WS_URL": "ws://ws.nowhere.test",
}


async def test_a_name_that_is_looked_up_for_ever_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """Of the Edge, the API and the feed, as where no name server answers."""
    (tmp_path / "sitecustomize.py").write_text(HANGING_LOOKUPS)
    variables = {**CLOUD, "PYTHONPATH": str(tmp_path), "SIDECAR_SHUTDOWN_GRACE_SECONDS": "0.5"}
    async with running_sidecar(None, tmp_path / "data", **variables) as sidecar:
        assert 0 == await sidecar.stop()
        assert "without waiting for" in sidecar.output
