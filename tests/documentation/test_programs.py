"""The README's programs: ours is run but for its port, that for the vendor's SDK, is read."""

import ast
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from tests.documentation.pages import fenced
from tests.harness import ROOT, SidecarProcess, running_sidecar

pytestmark = pytest.mark.timeout(180)

DEMO_PORT = "50051"
PROGRAM_SECONDS = 60.0
SDK_PROGRAM, GRPCIO_PROGRAM = (text for word, text in fenced(ROOT / "README.md") if word == "python")


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[SidecarProcess]:
    """The demo's customers, on another port."""
    async with Emulator() as emulator, running_sidecar(emulator, tmp_path) as sidecar:
        yield sidecar


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


def test_the_program_for_the_vendors_sdk_asks_what_the_descriptor_has() -> None:
    """It is Python, asks by a message of ours with fields of it, and reads fields of the answer."""
    tree = ast.parse(SDK_PROGRAM)
    (request,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Request")
    )
    message = pb.DESCRIPTOR.message_types_by_name[ast.unparse(request.func)]
    answer = pb.DESCRIPTOR.message_types_by_name[message.name.replace("Request", "Response")]
    (printed,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    )

    assert {argument.arg for argument in request.keywords} <= set(message.fields_by_name)
    for read in printed.args:
        _, *path = ast.unparse(read).split(".")
        place = answer
        for name in path:
            field = place.fields_by_name[name]
            place = field.message_type or place


async def test_plain_grpcio(demo: SidecarProcess) -> None:
    """The program for grpcio and our stubs."""
    assert "True\n" == await _printed(sys.executable, GRPCIO_PROGRAM, demo, PYTHONPATH=str(ROOT))
