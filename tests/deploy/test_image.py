"""The Dockerfile without a Docker engine: linted, and its stages' commands run in a folder.

Not run here: apt-get (it would change this machine), COPY between stages with
the file capability on it, and the container's own walls.
"""

import asyncio
import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from emulator.server import Emulator
from tests.cloud_states import boolean_state
from tests.deploy.dockerfile import Instruction, stages
from tests.harness import ROOT, SidecarProcess, client_of, environment_for, is_granted

pytestmark = pytest.mark.timeout(300)

DOCKERFILE = ROOT / "Dockerfile"
BUILD, FINAL = stages(DOCKERFILE)
USER_ID = 65532
IS_ROOT = os.geteuid() == 0
BASE = Path(sys.base_prefix)
IS_SWITCHED = IS_ROOT and all(folder.stat().st_mode & stat.S_IXOTH for folder in (BASE, *BASE.parents))
"""Runs as the image's user; not where that user could not even read the interpreter's library."""
HAS_SETCAP = IS_ROOT and shutil.which("setcap") is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What the Dockerfile makes, in a folder."""

    root: Path

    @property
    def data_dir(self) -> Path:
        """The one volume."""
        return self.root / "data"

    def placed(self, text: str) -> str:
        """A text of the Dockerfile, with its paths in the folder."""
        text = re.sub(r"(?<![\w/])/(opt|app|build|data)(?=/|\b)", rf"{self.root}/\1", text)
        return re.sub(r"(?<![\w/])python3 -m", f"{sys.executable} -m", text)

    def command(self, word: str) -> list[str]:
        """ENTRYPOINT, CMD or the command of HEALTHCHECK."""
        (text,) = (instruction.text for instruction in FINAL if instruction.word == word)
        listed: list[str] = json.loads(text[text.index("[") :])
        return [self.placed(part) for part in listed]

    def environment(self, emulator: Emulator | None, **variables: str) -> dict[str, str]:
        """What a process in it is given."""
        (text,) = (instruction.text for instruction in FINAL if instruction.word == "ENV")
        own = dict(part.split("=", 1) for part in shlex.split(self.placed(text)))
        given = environment_for(emulator, self.data_dir, **variables)
        return given | own | {"VIRTUAL_ENV": f"{self.root}/opt/venv"}

    async def spawn(self, *command: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
        """Starts a command as the image's user."""
        return await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            cwd=self.root / "app",
            user=USER_ID if IS_SWITCHED else None,
            group=USER_ID if IS_SWITCHED else None,
            extra_groups=[] if IS_SWITCHED else None,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )


def _run(image: Image, instruction: Instruction) -> None:
    if "apt-get" in instruction.text:
        return  # it would change this machine
    text = re.sub(r"^--mount=\S+", "", instruction.text)
    text = text if HAS_SETCAP else re.sub(r"&& setcap .*", "", text)
    subprocess.run(["/bin/sh", "-ec", image.placed(text)], check=True, cwd=image.root / "app")  # noqa: S603


def _copy(image: Image, instruction: Instruction) -> None:
    *sources, target = instruction.text.split()
    if sources[0].startswith("--from"):
        return
    destination = Path(image.placed(target)) if target.startswith("/") else image.root / "app" / target
    for source in (ROOT / name for name in sources):
        if source.is_dir():
            shutil.copytree(source, destination, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            is_folder = target.endswith("/")
            place = destination / source.name if is_folder else destination
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Made once: this downloads what requirements.lock names."""
    root = Path(tempfile.mkdtemp(prefix="sidecar-image-"))
    root.chmod(0o755)
    try:
        image = Image(root=root)
        (root / "app").mkdir()
        image.data_dir.mkdir(mode=0o700)
        for instruction in BUILD + FINAL:
            if instruction.word == "RUN":
                _run(image, instruction)
            elif instruction.word == "COPY":
                _copy(image, instruction)
        if IS_SWITCHED:
            os.chown(image.data_dir, USER_ID, USER_ID)
        yield image
    finally:
        shutil.rmtree(root)


def test_hadolint() -> None:
    """The linter has nothing to say."""
    linter = Path(sys.executable).parent / "hadolint"

    done = subprocess.run([linter, DOCKERFILE], capture_output=True, text=True, check=False)  # noqa: S603

    assert "" == done.stdout
    assert 0 == done.returncode


def test_runs_as_a_number_that_is_not_root() -> None:
    """`runAsNonRoot` can only judge a number."""
    assert [f"{USER_ID}:{USER_ID}"] == [text for word, text in FINAL if word == "USER"]


def test_context_holds_what_is_copied() -> None:
    """.dockerignore lets in what the Dockerfile copies, and nothing else."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for word, text in BUILD + FINAL
        if word == "COPY" and not text.startswith("--from")
        for source in text.split()[:-1]
    }

    assert copied == let_in
    assert "*" in ignored
    assert all((ROOT / source).exists() for source in copied)


async def test_image_answers_and_stops(emulator: Emulator, image: Image) -> None:
    """As its user, with one writable folder: it answers, serves the admin with its files, and drains."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    with socket.create_server(("127.0.0.1", 0)) as free:
        http_port = free.getsockname()[1]
    environment = image.environment(emulator, METRICS_PORT=str(http_port))
    command = image.command("ENTRYPOINT") + image.command("CMD")
    sidecar = SidecarProcess(await image.spawn(*command, environment=environment))
    try:
        await sidecar.started()
        async with client_of(sidecar) as client:
            assert await is_granted(client, "customer-1")
        page = await sidecar.get("/admin/login/")
        linked = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
        assert linked, page.text
        assert dict.fromkeys(linked, 200) == {path: (await sidecar.get(path)).status_code for path in linked}
        if HAS_SETCAP:
            started = os.readlink(f"/proc/{sidecar.process.pid}/exe")
            assert f"{image.root}/opt/venv/bin/python-low-ports" == started
        probe = await image.spawn(*image.command("HEALTHCHECK"), environment=environment)
        output, _ = await probe.communicate()
        assert probe.returncode == 0, output.decode()
    finally:
        code = await sidecar.stop()
    assert 0 == code
    probe = await image.spawn(*image.command("HEALTHCHECK"), environment=environment)
    await probe.communicate()
    assert 1 == probe.returncode


@pytest.mark.skipif(not (HAS_SETCAP and shutil.which("setpriv")), reason="needs root, setcap and setpriv")
@pytest.mark.parametrize("walls", [["--no-new-privs"], ["--bounding-set=-all"]], ids=lambda walls: walls[0])
async def test_starts_within_narrow_walls(image: Image, walls: list[str]) -> None:
    """Where the runtime forbids the capability, the plain interpreter starts instead."""
    environment = image.environment(None, OFFLINE="1")
    start = [*image.command("ENTRYPOINT"), "runsidecar", "--check-config"]
    user = [f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups"] if IS_SWITCHED else []
    process = await asyncio.create_subprocess_exec(
        "setpriv",
        *user,
        "--inh-caps=-all",
        *walls,
        *start,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )

    output, _ = await process.communicate()

    assert process.returncode == 0, output.decode()
    assert b"GRPC_PORT" in output


def test_no_tools_are_left(image: Image) -> None:
    """Neither pip nor what only development needs."""
    python = image.root / "opt/venv/bin/python"
    names = ("pip", "setuptools", "pytest", "emulator", "graphql")
    script = f"import importlib.util as u; print([n for n in {names!r} if u.find_spec(n)])"

    found = subprocess.run(  # noqa: S603
        [python, "-I", "-c", script], capture_output=True, text=True, check=True, cwd=image.root / "app"
    )

    assert "[]\n" == found.stdout
