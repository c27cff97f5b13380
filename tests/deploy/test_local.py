"""deploy/compose.local.yaml without an engine: its three services as processes of this machine."""

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from entitlements.config.variables import variable_names
from tests.harness import CALL_SECONDS, ROOT, environment_for, http_client, running_sidecar, spawned

FILE = ROOT / "deploy" / "compose.local.yaml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
CLOUD = ("SERVER_API_KEY", "API_URL", "EDGE_API_URL", "WS_URL")
EMULATOR, SIDECAR = "emulator:4300", "http://sidecar:8081"


@asynccontextmanager
async def _emulator(data_dir: Path) -> AsyncIterator[str]:
    """What the file runs after its packages are installed, on a free port; yields its address."""
    _, _, command = SERVICES["emulator"]["command"][-1].partition("exec python manage.py ")
    name, *arguments = shlex.split(command.replace("--port 4300", "--port 0"))
    async with spawned(environment_for(None, data_dir), *arguments, command=name) as emulator:
        line = await emulator.printed("Stigg emulator listening on ")
        yield line.split()[-1].removeprefix("http://").replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        # what it listens on in its container


@asynccontextmanager
async def _application(sidecar_url: str) -> AsyncIterator[str]:
    """The file's application, on a free port; yields its URL."""
    _, program = SERVICES["app"]["command"]
    script = FILE.parent / "local" / Path(program).name
    environment = {**SERVICES["app"]["environment"], "PORT": "0", "SIDECAR_URL": sidecar_url}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        yield f"http://127.0.0.1:{line.split(',')[0].split()[-1]}/"
    finally:
        process.kill()
        await process.wait()


async def test_an_application_is_answered_without_an_account(tmp_path: Path) -> None:
    """The variables of the file are enough: the emulator takes the key, the application finds the sidecar."""
    sidecar_variables = SERVICES["sidecar"]["environment"]
    async with _emulator(tmp_path / "emulator") as cloud:
        variables = {name: sidecar_variables[name].replace(EMULATOR, cloud) for name in CLOUD}
        async with running_sidecar(None, tmp_path / "sidecar", **variables, SIDECAR_HTTP_PORT="0") as sidecar:
            await sidecar.following()
            url = SERVICES["app"]["environment"]["SIDECAR_URL"]
            here = url.replace(SIDECAR, f"http://127.0.0.1:{sidecar.api_port}")
            async with _application(here) as app, http_client() as client:
                usual = await client.get(app, timeout=CALL_SECONDS)
                unknown = await client.get(f"{app}?customer=nobody&feature=x", timeout=CALL_SECONDS)

    assert "customer-demo may use feature-sso\n" == usual.text
    assert "nobody may not use x\n" == unknown.text


async def test_an_application_without_a_sidecar_says_so() -> None:
    """Somebody who started it alone reads what is missing."""
    async with _application("http://127.0.0.1:9") as app, http_client() as client:
        answer = await client.get(app, timeout=CALL_SECONDS)

    assert 503 == answer.status_code
    assert answer.text.startswith("no sidecar answers at http://127.0.0.1:9: ")


def test_its_files_and_variables_are_there() -> None:
    """Folders exist, images have versions, ports are this machine's alone, variables are known."""
    assert {"emulator", "sidecar", "app"} == set(SERVICES)
    for service in SERVICES.values():
        assert not service["image"].endswith(":latest")
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for source in (volume.split(":")[0] for volume in service.get("volumes", [])):
            assert not source.startswith(".") or (FILE.parent / source).is_dir()
    assert set(SERVICES["sidecar"]["environment"]) <= set(variable_names())
    assert "requirements-demo.lock" in SERVICES["emulator"]["command"][-1]


@pytest.mark.parametrize("name", ["read_only", "cap_drop", "cap_add", "security_opt", "build"])
def test_its_sidecar_is_as_the_other_file_s(name: str) -> None:
    """Behind the same walls, so that what works here works there."""
    other = yaml.safe_load((FILE.parent / "compose.yaml").read_text())["services"]["sidecar"]

    assert other[name] == SERVICES["sidecar"][name]
