"""Django's settings, made from the environment."""

import os
import stat
from pathlib import Path
from threading import Event, Thread

import pytest
from django.db import transaction
from django.db.utils import ConnectionHandler

from emulator.server import Emulator
from sidecar_project import settings
from tests.cloud_states import boolean_state
from tests.harness import check, client_of, environment_for, running_sidecar, spawned
from tests.management.command_runs import run


async def printed(expression: str, folder: Path, **variables: str) -> str:
    code = f"from django.conf import settings; print({expression})"
    environment = environment_for(None, folder, **({"OFFLINE": "1"} | variables))
    ended = await run(environment, "shell", "--no-imports", "-c", code)
    assert 0 == ended.code, ended.output
    return ended.output.splitlines()[-1]


async def test_the_secret_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    first, second = [await printed("settings.SECRET_KEY", tmp_path) for _ in range(2)]

    file = tmp_path / "secret-key"
    assert first == second
    assert first == file.read_text()
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert len(first) >= 50
    assert ["secret-key"] == os.listdir(tmp_path)


def test_the_secret_key_is_private_whoever_makes_it(tmp_path: Path) -> None:
    """`manage.py` has a mask of its own; a WSGI or ASGI server of somebody else's has not."""
    file = tmp_path / "new" / "secret-key"
    before = os.umask(0)
    try:
        keys = {settings._secret_key(file) for _ in range(2)}
    finally:
        os.umask(before)

    assert {file.read_text()} == keys
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)


async def test_two_folders_have_two_keys(tmp_path: Path) -> None:
    keys = {await printed("settings.SECRET_KEY", tmp_path / name) for name in ("a", "b")}

    assert len(keys) == 2


async def test_redis_is_there_when_its_prefix_is(tmp_path: Path) -> None:
    expression = "sorted(settings.CACHES), sorted(settings.CHANNEL_LAYERS)"

    without = await printed(expression, tmp_path)
    with_prefix = await printed(expression, tmp_path, REDIS_ENVIRONMENT_PREFIX="p")

    assert "['default'] ['default']" == without
    assert "['default', 'redis'] ['default']" == with_prefix


async def test_debug_is_off_and_cookies_are_secure(tmp_path: Path) -> None:
    assert "False True True" == await printed(
        "settings.DEBUG, settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE", tmp_path
    )


@pytest.mark.parametrize(
    ("variable", "value", "reported"),
    [
        ("ALL_PROXY", "socks5://h:1", "it must be the URL of a proxy that begins with http:// or https://"),
        ("HTTPS_PROXY", "ftp://h:1", "it must be the URL of a proxy that begins with http:// or https://"),
        ("SSL_CERT_FILE", "/missing", "it must name a readable file of certificates, PEM"),
        ("SSL_CERT_DIR", "/missing", "it must name a folder of certificates"),
        ("WEBSOCKETS_MAX_REDIRECTS", "few", "it must be a number"),
    ],
)
def test_what_a_library_could_not_use_is_a_problem_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reported: str
) -> None:
    """Each was a traceback at start, and `--check-config` was content."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("API_URL", "https://api.stigg.io")
    monkeypatch.setenv("SERVER_API_KEY", "made-up")
    monkeypatch.setenv(variable, value)

    ((problem,), warnings) = (settings._load()[1], settings._load()[0].warnings)

    assert problem.startswith(f"{variable} is ")
    assert problem.endswith(reported)
    assert not [each for each in warnings if variable in each]


@pytest.mark.parametrize("words", [("runsidecar",), ("runsidecar", "--check-config"), ("doctor", "--json")])
async def test_all_that_look_at_the_settings_report_the_same(tmp_path: Path, words: tuple[str, ...]) -> None:
    """One line, and the exit code 1."""
    environment = environment_for(None, tmp_path, SERVER_API_KEY="made-up", ALL_PROXY="socks5://h:1")

    ended = await run(environment, *words)

    assert 1 == ended.code
    assert 1 == ended.output.count("ALL_PROXY is 'socks5://")
    assert "Traceback" not in ended.output


async def test_what_is_not_needed_keeps_nobody_from_starting(emulator: Emulator, tmp_path: Path) -> None:
    """For a cloud on this machine: it answers, follows the feed, and `doctor` finds no fault."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    variables = {
        "NO_PROXY": "example.com,fd00::/8",
        "ALL_PROXY": "socks5://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "https_proxy": "http://127.0.0.1:1",
        "SSL_CERT_FILE": "/missing",
        "PROMETHEUS_MULTIPROC_DIR": "/missing",
    }
    async with running_sidecar(emulator, tmp_path, **variables) as sidecar:
        async with client_of(sidecar) as client:
            assert (await check(client, "customer-1")).has_access
        await sidecar.following()
        address = f"127.0.0.1:{sidecar.grpc_port}"
        environment = environment_for(emulator, tmp_path, **variables)
        asked = await run(environment, "ask", "customer-1", "f", "--address", address)
        examined = await run(environment, "doctor", "--json")

    assert "SSL_CERT_FILE is '/missing'" in sidecar.output
    assert 0 == asked.code, asked.output + examined.output
    assert 0 == examined.code, asked.output + examined.output


POSTGRES = {"DATABASE_URL": "postgres://nobody@127.0.0.1:9/none"}


@pytest.mark.parametrize(
    ("name", "value", "others"),
    [
        ("USE_ASYNCIO", "1", {}),
        ("PSYCOPG_IMPL", "junk", POSTGRES),
        ("PSYCOPG_WAIT_FUNC", "junk", POSTGRES),
        ("DJANGO_SETTINGS_MODULE", "shop.settings", {}),
    ],
)
async def test_what_would_choose_parts_of_a_library_is_ignored(
    tmp_path: Path, name: str, value: str, others: dict[str, str]
) -> None:
    """Each ended the start in a traceback; the last is an application's own, which shares its variables."""
    environment = environment_for(None, tmp_path, OFFLINE="1", **{name: value}, **others)

    async with spawned(environment, prefix=("env",)) as sidecar:  # an interpreter that reads it at load
        await sidecar.started()

    assert f"{name} is ignored" in sidecar.output
    assert "Traceback" not in sidecar.output


async def test_replicas_sign_with_the_key_they_are_given(tmp_path: Path) -> None:
    """With one of its own, each logged out whom the other had logged in."""
    file = tmp_path / "key"
    file.write_text("a shared key, of letters as random as they may be 1234567890\n")

    keys = {
        await printed("settings.SECRET_KEY", tmp_path / name, SIDECAR_SECRET_KEY_FILE=str(file))
        for name in ("a", "b")
    }

    assert {file.read_text().strip()} == keys


@pytest.mark.parametrize(
    "wrong", [{"OFFLINE": "0"}, {"GRPC_PORT": "http"}, {"LOG_LEVEL": "loud", "WS_URL": "x", "OFFLINE": "0"}]
)
async def test_what_can_be_used_of_an_environment_is_in_force_for_commands(
    tmp_path: Path, wrong: dict[str, str]
) -> None:
    """A missing key had every other variable replaced, so that commands worked on another folder."""
    reported = await printed(
        "settings.DATA_DIR, settings.SIDECAR.config.redis_host", tmp_path, REDIS_HOST="r", **wrong
    )

    assert f"{tmp_path!r} r".replace(repr(tmp_path), str(tmp_path)) == reported


async def test_a_database_that_says_nothing_is_not_waited_for_without_end(tmp_path: Path) -> None:
    """Neither a new connection nor one that is open."""
    options = "settings.DATABASES['default']['OPTIONS']"
    expression = f"{options}['connect_timeout'], {options}['tcp_user_timeout'] // 1000"

    default = await printed(expression, tmp_path, DATABASE_URL="postgres://db/sidecar")
    given = await printed(expression, tmp_path, DATABASE_URL="postgresql://db/sidecar?connect_timeout=9")

    assert "5 10" == default
    assert "9 10" == given


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("write", "left"),
    [
        ("INSERT INTO people VALUES ('b')", ["a", "b"]),
        ("UPDATE people SET name = 'c'", ["c"]),
        ("DELETE FROM people", []),
    ],
)
def test_who_reads_then_writes_is_not_locked_out_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str, left: list[str]
) -> None:
    """Two logins at once: SQLite refuses the second at once, if its transaction began by reading."""
    connections = ConnectionHandler({"default": {**settings.DATABASES["default"], "NAME": tmp_path / "db"}})
    monkeypatch.setattr(transaction, "connections", connections)
    wrote = Event()

    def another() -> None:
        with transaction.atomic(), connections["default"].cursor() as cursor:
            cursor.execute(write)
            wrote.set()
        connections.close_all()

    with connections["default"].cursor() as cursor:
        cursor.execute("CREATE TABLE people (name TEXT)")
        with transaction.atomic():
            cursor.execute("SELECT * FROM people").fetchall()
            thread = Thread(target=another)
            thread.start()
            wrote.wait(timeout=0.2)  # it must not come so far
            cursor.execute("INSERT INTO people VALUES ('a')")
        thread.join()

        names = [name for (name,) in cursor.execute("SELECT name FROM people ORDER BY rowid").fetchall()]
    connections.close_all()

    assert names == left
