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
unused = {"OpenSSL", "cffi", "cryptography.x509", "cryptography.hazmat.primitives.serialization"}
print(*sorted(unused & set(sys.modules)))
import OpenSSL  # whoever needs it later finds it
"""
MAX_READY_CPU_SECONDS = 2.5


def test_tls_is_loaded_where_it_is_spoken(tmp_path: Path) -> None:
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
