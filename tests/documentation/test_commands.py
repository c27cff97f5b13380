"""Every command of the pages is run here as it is written, or named here with what keeps it from that."""

import asyncio
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import CommandParser

from emulator.server import Emulator
from tests.cloud_states import boolean_state
from tests.documentation.pages import PAGES, Command, commands, mentions
from tests.fork_server import fork
from tests.harness import (
    ROOT,
    STOP_SECONDS,
    Client,
    SidecarProcess,
    check,
    environment_for,
    running_sidecar,
)
from tests.redis_server import RedisServer, free_port

pytestmark = pytest.mark.timeout(300)

COMMANDS = [command for page in PAGES for command in commands(page)]
TYPED = sorted({command.page for command in COMMANDS if "manage.py" in command.text})
NOT_RUN = {
    "curl": "tests/project/test_http_api.py asks the sidecar so, tests/emulator/test_control.py the emulator",
    "docker": "no Docker engine runs here; tests/deploy/test_image.py runs what the Dockerfile says",
    "grpcurl": "it is not on this machine; tests/wire/test_grpclib.py asks the reflection that it uses",
    "git": "a clone of this repository is the checkout that the tests run in",
    "helm": "there is no cluster here",
    "kubectl": "there is no cluster here; tests/deploy/test_manifests.py holds the files against the schemas",
    "python": "a benchmark, which takes minutes on a quiet machine; tests/bench/ runs them in a short form",
    "pipx": "it would install hooks into the checkout",
}
"""What keeps a program from being run, by its name."""
MAKE = {
    "attacks": "takes minutes; CI runs it in a short form",
    "bench": "takes minutes on a quiet machine",
    "chaos": "takes minutes; CI runs it in a short form",
    "fuzz": "takes minutes; CI runs it in a short form",
    "audit": "CI runs it",
    "check": "CI runs it",
    "covered": "CI runs it",
    "coverage": "the tests would run themselves",
    "demo": "what it starts is run by tests/project/test_demo.py",
    "demo-fleet": "what it starts is run by tests/project/test_demo_fleet.py",
    "docs": "`make check` compares what it would write",
    "format": "it changes files",
    "help": "",
    "image": "takes minutes; tests/deploy/test_image.py runs what the Dockerfile says",
    "lock": "it asks the package index and changes files",
    "proto": "`make check` compares what it would write",
    "sbom": "it asks the package index",
    "soak": "takes a quarter of an hour",
    "test": "the tests would run themselves",
    "test-all": "the tests would run themselves",
    "test-fast": "the tests would run themselves",
    "test-storms": "the tests would run themselves",
}
"""Words of make: each is asked for its recipe; why that is not run, empty where it is run."""
FOR_EVER = {
    ("runsidecar",),
    ("runsidecar", "--demo"),
    ("runsidecar", "--workers"),
    ("runemulator", "--port"),
    ("runemulator", "--customers"),
}
"""What runs until it is stopped, by its first words."""
LISTENS = "listening"
DEMO_RUNS = "The demo runs"
OTHER_CODES = {
    "manage.py explain customer-exhausted feature-api-calls --usage 1 --compare": 1,  # denied
    "manage.py override end ID": 1,  # none of that id
    "manage.py outbox replay --all": 1,  # there is none
    "manage.py outbox replay --all --even-too-old": 1,
    "manage.py outbox discard --all": 1,
    "manage.py outbox discard --all --waiting": 1,
}
RUNS_SECONDS = 60.0


@dataclass(kw_only=True)
class Place:
    """Where a reader types: a folder with what the pages speak of, and a sidecar that runs."""

    folder: Path
    environment: Mapping[str, str]
    emulator: Emulator

    def environment_of_another(self, folder: str) -> dict[str, str]:
        """For a second sidecar beside the one that runs."""
        data = self.folder / folder
        names = ("GRPC_PORT", "METRICS_PORT", "SIDECAR_HTTP_PORT", "EMULATOR_PORT")
        ports = {name: str(free_port()) for name in names}
        return dict(self.environment) | ports | {"SIDECAR_DATA_DIR": str(data)}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """The emulator with its own customers, a Redis, a sidecar."""
    ports = {"GRPC_PORT": str(free_port()), "METRICS_PORT": str(free_port())}
    folder = tmp_path / "typed"
    folder.mkdir()
    (folder / "customers.txt").write_text("customer-demo\ncustomer-exhausted\n")
    (folder / "rules.json").write_text('{"feature-sso": {"hasAccess": true}}')
    (folder / "customers.yaml").write_text("customers: {acme: {entitlementsV2: []}}")
    with RedisServer() as redis:
        redis_at = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(redis.port)}
        shared = redis_at | {"REDIS_ENVIRONMENT_PREFIX": "documented", "SIDECAR_OVERRIDES": "1"}
        async with (
            Emulator() as emulator,
            running_sidecar(emulator, tmp_path / "data", **ports, **shared) as sidecar,
        ):
            await sidecar.following()
            emulator.state.put("acme", boolean_state(feature_id="feature-sso"), push=False)
            environment = environment_for(emulator, tmp_path / "data", **ports, **shared)
            key_file = folder / "stigg-key"
            key_file.write_text(emulator.api_key)
            yield Place(folder=folder, environment=environment, emulator=emulator)


def _arguments(place: Place, words: list[str]) -> list[str]:
    """The words of a page: the key is a file of here, and ours stands for an older sidecar."""
    here = {
        "/run/secrets/stigg-key": str(place.folder / "stigg-key"),
        "old-sidecar:80": f"127.0.0.1:{place.environment['GRPC_PORT']}",
    }
    return [here.get(word, word) for word in words]


def _split(text: str) -> tuple[dict[str, str], list[str]]:
    """What is assigned before the command, and its words."""
    assigned: dict[str, str] = {}
    words = shlex.split(text, comments=True)
    while words and "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        assigned[name] = value
    return assigned, words


def _is_ours(words: list[str]) -> bool:
    return words[0] == "manage.py" or words[:2] == [".venv/bin/python", "manage.py"]


async def _spawn(
    place: Place, words: list[str], environment: Mapping[str, str]
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "manage.py"),
        *_arguments(place, words),
        env=dict(environment),
        cwd=place.folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )


async def _to_its_end(place: Place, text: str, words: list[str], environment: Mapping[str, str]) -> None:
    process = SidecarProcess(await fork(environment, _arguments(place, words), folder=place.folder))
    code = await process.ended(seconds=RUNS_SECONDS)

    assert OTHER_CODES.get(text, 0) == code, process.output
    assert "Traceback" not in process.output, process.output


async def _until_it_runs(place: Place, words: list[str], environment: Mapping[str, str]) -> None:
    """It starts, says so, and Ctrl-C ends it with 0."""
    process = await _spawn(place, words, environment)
    started = SidecarProcess(process)
    try:
        reported = DEMO_RUNS if "--demo" in words else LISTENS
        times = int(words[words.index("--workers") + 1]) if "--workers" in words else 1
        await _printed_so_often(started, reported, times)
        assert 0 == await started.stop(signal.SIGINT), started.output
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await asyncio.wait_for(process.wait(), STOP_SECONDS)


async def _printed_so_often(process: SidecarProcess, words: str, times: int) -> None:
    """Each worker says for itself that it listens."""
    async with asyncio.timeout(RUNS_SECONDS), process._arrived:
        await process._arrived.wait_for(
            lambda: process.output.count(words) >= times or process.process.returncode is not None
        )
    assert process.output.count(words) >= times, process.output


@asynccontextmanager
async def _asked(place: Place) -> AsyncIterator[None]:
    """Somebody asks the sidecar meanwhile, so that there is something to record."""

    async def ask() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{place.environment['GRPC_PORT']}") as channel:
            while True:
                await check(Client(channel), "customer-demo", "feature-sso")
                await asyncio.sleep(0.05)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _run(place: Place, text: str) -> None:
    assigned, words = _split(text)
    arguments = words[words.index("manage.py") + 1 :]
    environment = dict(place.environment)
    if arguments[0] == "createsuperuser":
        given = {"USERNAME": "on-call", "EMAIL": "on-call@example.com", "PASSWORD": "made-up-for-a-test"}
        environment |= {f"DJANGO_SUPERUSER_{name}": value for name, value in given.items()}
        arguments.append("--noinput")
    is_for_ever = tuple(arguments[:1]) in FOR_EVER or tuple(arguments[:2]) in FOR_EVER
    if is_for_ever and "--check-config" not in arguments:
        environment = place.environment_of_another(f"another-{len(arguments)}-{len(assigned)}")
        if "SERVER_API_KEY_FILE" in assigned:
            environment.pop("SERVER_API_KEY")
        assigned = {name: _arguments(place, [value])[0] for name, value in assigned.items()}
        await _until_it_runs(place, arguments, environment | assigned)
    else:
        async with _asked(place) if arguments[0] == "record" else nullcontext():
            await _to_its_end(place, text, arguments, environment | assigned)


@pytest.mark.parametrize("page", TYPED)
async def test_what_a_page_says_can_be_typed_in_its_order(page: str, place: Place) -> None:
    """Each ends as it should; what one leaves behind, the next may use."""
    for command in COMMANDS:
        if command.page == page and _is_ours(_split(command.text)[1]):
            await _run(place, command.text)


def _make(*arguments: str) -> str:
    command = ["/usr/bin/env", "make", *arguments]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)  # noqa: S603
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.page}: {command.text}")
def test_every_command_is_run_or_named_with_its_reason(command: Command) -> None:
    """A new kind of command needs a way to run it, or a reason."""
    _, words = _split(command.text)
    if _is_ours(words):
        return
    if words[0] == "make":
        assert words[1] in MAKE
        _make(*words[1:], *(["--dry-run"] if MAKE[words[1]] else []))
        return
    assert words[0] in NOT_RUN, f"{command} is neither run nor named in NOT_RUN"


def test_demo_of_the_makefile_is_the_demo_that_is_tested() -> None:
    """The README's first command."""
    assert "manage.py runsidecar --demo" in _make("--dry-run", "demo")


@pytest.mark.parametrize(
    ("page", "mention"),
    [(page.name, mention) for page in PAGES for mention in mentions(page)],
    ids=lambda text: text,
)
def test_a_command_in_the_running_text_exists_with_its_options(page: str, mention: str) -> None:
    """`manage.py outbox replay` and the like: the command, each act and each option are known."""
    words = mention.removeprefix("manage.py").split()
    if not words:
        return
    if words[0] == "make":
        assert words[1:] == [] or words[1] in MAKE, page
        return
    name = words[0]
    if not name.islower():  # WORD, NAME: a placeholder
        return
    assert name in get_commands(), page
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    known = _words_of(parser)

    assert [] == [word for word in words[1:] if word.startswith("--") and word not in known], page
    acts = {word for word in known if not word.startswith("-")}
    if acts and len(words) > 1 and words[1].islower():
        assert set(words[1].split("|")) <= acts, page


def _words_of(parser: CommandParser) -> set[str]:
    """Options and acts, those of the acts included."""
    known: set[str] = set()
    for action in parser._actions:
        known |= set(action.option_strings)
        if action.choices is not None and not action.option_strings:
            known |= set(action.choices)
            if isinstance(action.choices, Mapping):
                for below in action.choices.values():
                    known |= _words_of(below)
    return known
