"""Two replicas and one PostgreSQL: DATABASE_URL=postgres://… with a real server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar_project.admin_settings import LOGIN_PATH
from tests.eventually import MOST_SECONDS, eventually
from tests.harness import SidecarProcess, check, client_of, environment_for, http_client, running_sidecar
from tests.management.command_runs import run
from tests.postgres_server import PostgresServer

PASSWORD = "correct horse battery staple"


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


async def _session(sidecar: SidecarProcess) -> str:
    """The cookie of somebody who logs in there."""
    token = "a" * 64
    async with http_client() as client:
        answer = await client.post(
            f"http://127.0.0.1:{sidecar.http_port}{LOGIN_PATH}?next=/admin/",
            headers={"cookie": f"sidecar_csrf={token}"},  # over TLS a browser sends it; here nobody would
            data={"csrfmiddlewaretoken": token, "username": "on-call", "password": PASSWORD},
        )
    assert answer.status_code == 302, answer.text
    return f"sidecar_session={answer.cookies['sidecar_session']}"


async def _admin(sidecar: SidecarProcess, cookie: str) -> int:
    async with http_client() as client:
        url = f"http://127.0.0.1:{sidecar.http_port}/admin/"
        return (await client.get(url, headers={"cookie": cookie})).status_code


async def test_replicas_of_one_database_know_each_others_logins(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    """They begin at once on an empty database; each logged out whom the other had logged in."""
    key, password = tmp_path / "key", tmp_path / "password"
    key.write_text("a key that both replicas are given, 0123456789, and no other")
    password.write_text(PASSWORD)
    shared = {
        "OFFLINE": "1",
        "DATABASE_URL": postgres.url,
        "SIDECAR_SECRET_KEY_FILE": str(key),
        "SIDECAR_ADMIN_USERNAME": "on-call",
        "SIDECAR_ADMIN_PASSWORD_FILE": str(password),
    }
    async with (
        running_sidecar(None, tmp_path / "a", **shared) as a,
        running_sidecar(None, tmp_path / "b", **shared) as b,
    ):
        cookie = await _session(a)
        seen = [await _admin(each, cookie) for each in (b, a, b, a)]

        assert "the database cannot be used" not in a.output + b.output
    assert [200] * 4 == seen


async def test_a_rule_that_is_set_at_one_replica_answers_at_the_other(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    """And who did it stands in one trail."""
    variables, rules = {"OFFLINE": "1", "DATABASE_URL": postgres.url}, tmp_path / "rules.json"
    rules.write_text('{"f": {"hasAccess": true}}')
    async with (
        running_sidecar(None, tmp_path / "a", **variables),
        running_sidecar(None, tmp_path / "b", **variables) as b,
        client_of(b) as client,
    ):
        taken = await run(
            environment_for(None, tmp_path / "a", **variables), "fallbacks", "import", str(rules)
        )
        async with asyncio.timeout(MOST_SECONDS):
            while not (await check(client, "c")).has_access:  # noqa: ASYNC110 - gRPC announces no events
                await asyncio.sleep(0.01)
        listed = await run(environment_for(None, tmp_path / "b", **variables), "audit", "--json")

    assert 0 == taken.code
    assert ["fallback.import"] == [each["act"] for each in listed.as_json]
    assert {"taken_over": 1, "f": '{"hasAccess": true}'} == listed.as_json[0]["after"]
    assert {"f": "null"} == listed.as_json[0]["before"]


async def test_one_that_stands_still_is_reported_and_heals(postgres: PostgresServer, tmp_path: Path) -> None:
    """What was read last stays in force, checks and the end do not wait, and all is well when it goes on."""

    async def is_unreadable() -> bool:
        return bool((await a.parts())["database"]["problem"] == "unreadable")

    async def is_well() -> bool:
        return (await a.parts())["database"]["problem"] is None

    variables = {"OFFLINE": "1", "DATABASE_URL": postgres.url}
    async with (
        running_sidecar(None, tmp_path / "a", **variables) as a,
        running_sidecar(None, tmp_path / "b", **variables) as b,
        client_of(a) as client,
    ):
        with postgres.standing_still():
            await eventually(is_unreadable)
            answer = await check(client, "c")
            ended = await b.stop()
        await eventually(is_well)

    assert answer.is_fallback
    assert 0 == ended


async def test_replicas_make_the_tables_at_once(postgres: PostgresServer, tmp_path: Path) -> None:
    """Whoever comes second finds them made; a command does as a start does."""
    environment = environment_for(None, tmp_path, OFFLINE="1", DATABASE_URL=postgres.url)

    runs = await asyncio.gather(*(run(environment, "fallbacks", "export") for _ in range(3)))

    assert [(0, {})] * 3 == [(each.code, each.as_json) for each in runs]


async def test_a_database_that_is_away_is_reported_in_a_sentence(tmp_path: Path) -> None:
    """To a person in a command; a sidecar starts without it."""
    url = "postgres://somebody:hush@127.0.0.1:9/sidecar"

    reported = await run(
        environment_for(None, tmp_path, OFFLINE="1", DATABASE_URL=url), "createsuperuser", "--noinput"
    )
    async with running_sidecar(None, tmp_path, OFFLINE="1", DATABASE_URL=url) as sidecar:
        assert "the database cannot be used" in sidecar.output

    assert 2 == reported.code
    assert (
        reported.output.strip().splitlines()[-1].startswith("CommandError: the database cannot be used (Oper")
    )
    assert not any(word in reported.output + sidecar.output for word in ("hush", "Traceback"))
