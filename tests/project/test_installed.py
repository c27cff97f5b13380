"""The wheel in an environment of its own, outside of the checkout, as `pip install` and `pipx` leave it."""

import asyncio
import os
import re
import shutil
import signal
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.harness import ROOT, SidecarProcess, http_client
from tests.redis_server import free_port

FIND_IT = [
    ("explain", "customer-demo", "feature-api-calls"),
    ("cache", "get", "customer-demo"),
    ("outbox", "list"),
]
"""Some commands of docs/commands.md; each has a way of its own to what it is about."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed command; what it depends on is taken from the tests' own environment."""
    folder = tmp_path_factory.mktemp("installed")
    pip, source = (sys.executable, "-m", "pip"), folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "__pycache__", "tests"))
    _run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, source)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv/bin/python"
    _run(*pip, "--python", python, "install", "--quiet", "--no-deps", wheel)
    packages = next((folder / "venv/lib").glob("python*/site-packages"))
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return folder / "venv/bin/stigg-sidecar"


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, cwd="/", capture_output=True)  # noqa: S603 - our own words


def environment(home: Path, **variables: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"} | variables


async def test_demo_ask_and_admin(program: Path, tmp_path: Path) -> None:
    """From any folder; what it writes lies in the user's own."""
    names = ("GRPC_PORT", "METRICS_PORT", "SIDECAR_HTTP_PORT", "EMULATOR_PORT")
    ports = {name: str(free_port()) for name in names}
    demo = await _started(program, "demo", tmp_path, **ports)
    try:
        await demo.printed("stigg-sidecar ask customer-demo feature-api-calls")
        (admin,) = re.findall(r"(http://\S+/admin/) as", await demo.printed("/admin/ as demo, password "))
        ask = await _done(program, tmp_path, "ask", "customer-demo", "feature-api-calls")
        found = {words: await _done(program, tmp_path, *words) for words in FIND_IT}
        explain, *_ = FIND_IT
        elsewhere = await _done(program, tmp_path, *explain, SIDECAR_DATA_DIR=str(tmp_path / "own"))
        async with http_client() as browser:
            page = await browser.get(f"{admin}login/")
            (style,) = re.findall(r'href="(/static/entitlements/admin\.css)"', page.text)
            styled = await browser.get(admin.replace("/admin/", style))
    finally:
        ended = await demo.stop(signal.SIGINT)

    assert 0 == ask.process.returncode
    for words, command in found.items():
        assert command.process.returncode == 0, f"{words}: {command.output}"
    assert f"no sidecar answers at {tmp_path}/own" in elsewhere.output
    assert 0 == ended
    afterwards = await _done(program, tmp_path, *explain)
    assert "no sidecar answers at" in afterwards.output
    assert "used: 420 of 1,000 calls" in ask.output
    assert 200 == page.status_code
    assert 200 == styled.status_code
    assert (tmp_path / ".local/state/stigg-sidecar/.demo").is_dir()


def test_run_is_runsidecar_and_says_what_is_missing(program: Path, tmp_path: Path) -> None:
    done = subprocess.run(  # noqa: S603 - our own words
        [program, "run"], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment(tmp_path)
    )

    assert 0 != done.returncode
    assert "SERVER_API_KEY is not set" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


async def _done(program: Path, home: Path, *words: str, **variables: str) -> SidecarProcess:
    """A command in another terminal, where nothing else is set, after its end."""
    command, *arguments = words
    process = await _started(program, command, home, *arguments, **variables)
    await process.process.wait()
    await process.stop()
    return process


async def _started(
    program: Path, command: str, home: Path, *arguments: str, **variables: str
) -> SidecarProcess:
    process = await asyncio.create_subprocess_exec(
        program,
        command,
        *arguments,
        cwd=home,
        env=environment(home, **variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    return SidecarProcess(process)
