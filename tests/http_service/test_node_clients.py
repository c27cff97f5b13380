"""The published clients of Node, unchanged, against a real sidecar: OpenFeature's two SDKs, Connect's."""

import asyncio
import hashlib
import json
import re
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from emulator.server import Emulator
from tests.cloud_states import boolean_state
from tests.harness import ROOT, running_sidecar

SCRIPTS = Path(__file__).parent / "node"
PAGE = ROOT / "docs/http.md"
INSTALL_SECONDS = 120
pytestmark = pytest.mark.timeout(INSTALL_SECONDS + 60)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts and their packages; skipped aloud where those cannot be had."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("there is no node on this machine")
    locked = hashlib.sha256((SCRIPTS / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = ROOT / "build/node" / locked
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SCRIPTS / name, folder)
        command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        installed = subprocess.run(  # noqa: S603 - what the lock file names
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
        if installed.returncode:
            pytest.skip(f"Node's packages cannot be had: {installed.stderr[-300:]}")
        (folder / "installed").touch()
    for script in SCRIPTS.glob("*.mjs"):
        shutil.copy(script, folder)
    return folder


@asynccontextmanager
async def running(node: Path, script: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        "node", str(node / script), *arguments, cwd=node, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def printed(process: asyncio.subprocess.Process) -> Any:
    """The next line, from JSON where it is some."""
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(30):
        line = (await process.stdout.readline()).decode().strip()
        if not line:
            raise AssertionError((await process.stderr.read()).decode())
    return json.loads(line) if line.startswith("{") else line


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[tuple[str, Emulator]]:
    """A sidecar in front of the demo's customers."""
    async with (
        Emulator() as emulator,
        running_sidecar(emulator, tmp_path, SIDECAR_HTTP_PORT="0") as sidecar,
    ):
        await sidecar.following()
        yield f"http://127.0.0.1:{sidecar.api_port}", emulator


async def test_the_server_provider_evaluates_every_type(node: Path, url: tuple[str, Emulator]) -> None:
    async with running(node, "ofrep_server.mjs", url[0]) as process:
        answers = await printed(process)

    assert {
        "sso": True,
        "denied": False,
        "templates": 25,
        "regions": {"values": ["eu", "us"]},
        "calls": True,
        "limit": 1000,
        "unknown": "FLAG_NOT_FOUND",
    } == answers


async def test_the_snippet_of_the_page_runs(node: Path, url: tuple[str, Emulator]) -> None:
    """As it is written, but for the port."""
    (snippet,) = re.findall(r"```js\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = node / "snippet.mjs"
    script.write_text(snippet.replace("http://127.0.0.1:8081", url[0]))
    async with running(node, script.name) as process:
        reported = [await printed(process), await printed(process)]

    assert ["true", "25"] == reported


async def test_the_web_provider_is_asked_to_evaluate_anew(node: Path, url: tuple[str, Emulator]) -> None:
    """It opens the event stream that the list of all flags names."""
    async with running(node, "ofrep_web.mjs", url[0]) as process:
        before = await printed(process)
        assert "watching" == await printed(process)
        url[1].state.put("customer-demo", boolean_state(feature_id="feature-audit-log"))
        after = await printed(process)

    assert {"sso": True, "denied": False, "templates": 25, "regions": {"values": ["eu", "us"]}} == before
    assert {"sso": False, "denied": True, "templates": 0, "regions": {}} == after


@pytest.fixture
def generated(node: Path, tmp_path: Path) -> Path:
    """What Connect's generator makes of our schema."""
    subprocess.run(  # noqa: S603 - our own schema, by the tools of the lock file
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--plugin=protoc-gen-es={node / 'node_modules/.bin/protoc-gen-es'}",
            f"--proto_path=stigg/sidecar/v1={ROOT / 'grpc_service/proto'}",
            f"--es_out={tmp_path}",
            "--es_opt=target=js,import_extension=js",
            "stigg/sidecar/v1/sidecar.proto",
        ],
        check=True,
    )
    module = node / "sidecar_pb.js"  # beside the packages that it imports
    shutil.copy(tmp_path / "stigg/sidecar/v1/sidecar_pb.js", module)
    return module


async def test_a_generated_connect_client_calls_every_method(
    node: Path, generated: Path, url: tuple[str, Emulator]
) -> None:
    async with running(node, "connect_client.mjs", url[0], str(generated)) as process:
        answers = await printed(process)

    json_answers = answers["json"]
    assert answers["proto"] == json_answers
    assert json_answers.pop("granted") is True
    assert "InvalidArgument" == json_answers.pop("refused")
    assert 13 == len(json_answers)
