"""The README's programs, run as they are written but for the port; and the vendor's SDK among them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from emulator.server import Emulator
from tests.documentation.pages import fenced
from tests.harness import ROOT, SidecarProcess, running_sidecar

pytestmark = pytest.mark.timeout(180)

SDK_LOCK = Path(__file__).with_name("vendor-sdk.lock")
"""The vendor's SDK wants older releases of what we use, hence an environment of its own."""
DEMO_PORT = "50051"
PROGRAM_SECONDS = 60.0
SDK_PROGRAM, GRPCIO_PROGRAM = (text for word, text in fenced(ROOT / "README.md") if word == "python")


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[SidecarProcess]:
    """The demo's customers, on another port."""
    async with Emulator() as emulator, running_sidecar(emulator, tmp_path) as sidecar:
        yield sidecar


@pytest.fixture(scope="module")
def sdk_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the vendor's SDK; this downloads it."""
    folder = tmp_path_factory.mktemp("sdk")
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)  # noqa: S603
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--require-hashes", "-r", str(SDK_LOCK)], check=True)  # noqa: S603
    return python


async def _printed(python: str | Path, program: str, demo: SidecarProcess, **variables: str) -> str:
    assert DEMO_PORT in program
    text = program.replace(DEMO_PORT, str(demo.grpc_port))
    process = await asyncio.create_subprocess_exec(
        python,
        "-c",
        text,
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complaints = await asyncio.wait_for(process.communicate(), PROGRAM_SECONDS)
    assert 0 == process.returncode, complaints.decode()
    return printed.decode()


async def test_the_vendors_sdk_works_unchanged(demo: SidecarProcess, sdk_python: Path) -> None:
    """The program for the published Python SDK."""
    assert "True 420.0 1000.0\n" == await _printed(sdk_python, SDK_PROGRAM, demo)


async def test_plain_grpcio(demo: SidecarProcess) -> None:
    """The program for grpcio and our stubs."""
    assert "True\n" == await _printed(sys.executable, GRPCIO_PROGRAM, demo, PYTHONPATH=str(ROOT))
