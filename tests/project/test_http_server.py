"""A serving process does not load what it never uses."""

import subprocess
import sys
from pathlib import Path

import psutil

from emulator.server import Emulator
from tests.harness import ROOT, SidecarProcess, environment_for

PLAIN = """
import sys
import django
django.setup()
import sidecar_project.serving
unused = {"OpenSSL", "cffi", "cryptography.hazmat.bindings._rust", "rich", "pygments", "grpclib", "uvicorn"}
unused |= {"httpx", "httpcore"}
print(*sorted(unused & {name for name, module in sys.modules.items() if module is not None}))
import OpenSSL, autobahn.twisted.wamp, rich, httpx  # whoever needs it later finds it
assert autobahn.twisted.wamp.ApplicationSession.__module__ == "autobahn.twisted.wamp"
"""
MAX_READY_CPU_SECONDS = 2.5


def test_what_is_not_used_is_not_loaded(tmp_path: Path) -> None:
    environment = environment_for(
        None, tmp_path, OFFLINE="1", DJANGO_SETTINGS_MODULE="sidecar_project.settings"
    )

    ended = subprocess.run(  # noqa: S603 - the program above
        [sys.executable, "-c", PLAIN], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    assert 0 == ended.returncode, ended.stderr
    assert "" == ended.stdout.strip(), ended.stderr


async def test_a_sidecar_is_soon_ready(emulator: Emulator, sidecar: SidecarProcess) -> None:
    """The bound of bench/README.md, with the feed followed."""
    process = psutil.Process(sidecar.process.pid)
    seconds = sum(process.cpu_times()[:2])
    assert (await sidecar.get("/livez")).status_code == 200

    assert seconds <= MAX_READY_CPU_SECONDS
    assert emulator.feed.connections == 1
