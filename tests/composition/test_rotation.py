"""A key that is rotated in its file: asked by the new one, with no failed read between."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from emulator.server import Emulator
from entitlements.composition import Sidecar, build
from entitlements.composition.rotation import follow_redis_credentials
from entitlements.config import load
from entitlements.domain.entity import EntityKey
from entitlements.domain.ports import Lookup
from entitlements.redis.address import RedisAddress
from entitlements.redis.connection import UNAVAILABLE, RedisConnection
from entitlements.redis.credentials import Credentials
from entitlements.service import secret_rotation
from entitlements.service.key_check import KeyVerdict
from entitlements.upstream.feed_protocol import Problem
from tests.eventually import eventually
from tests.harness import environment_for
from tests.redis.parts import connection_to, stopping
from tests.redis_server import RedisServer


class Nobody:
    """Follows the feed for its state alone."""

    async def followed(self) -> None:
        """Shows in the feed's state."""

    async def lost(self, cause: str) -> None:
        """Shows in the feed's state."""

    async def delivered(self, subscription: str, frame: str) -> None:
        """Is nobody's."""


def holds(file: Path, content: str) -> None:
    """Has the file hold this."""
    file.write_text(content)


@pytest.fixture
def file(emulator: Emulator, tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(emulator.api_key)
    return file


@pytest.fixture
async def built(
    emulator: Emulator, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Sidecar]:
    monkeypatch.setattr(secret_rotation, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(secret_rotation, "RETRY_SECONDS", 0.05)
    environ = environment_for(emulator, tmp_path, SIDECAR_OUTBOX="off", SERVER_API_KEY_FILE=str(file))
    del environ["SERVER_API_KEY"]
    loaded = load(environ)
    sidecar = build(loaded.config, secret_files=loaded.secret_files)
    async with sidecar.running():
        await eventually(lambda: sidecar.key_check.verdict is KeyVerdict.VALID)
        yield sidecar


@pytest.mark.django_db(transaction=True)
async def test_a_rotated_key_costs_no_read(emulator: Emulator, built: Sidecar, file: Path) -> None:
    """The cloud takes both keys for a while; then the old one is revoked."""
    outcomes: list[object] = []
    is_over = False

    async def read_on() -> None:
        while not is_over:
            outcomes.append(await built.fetcher.fetch(EntityKey(f"customer-{len(outcomes)}")))

    reading = asyncio.gather(*(read_on() for _ in range(4)))
    emulator.api_keys.add("second-key-of-this-test")
    holds(file, "second-key-of-this-test")
    await eventually(lambda: built.secret_rotation.followed["SERVER_API_KEY"].taken_ms is not None)
    emulator.api_keys.remove(emulator.api_key)
    asked_before = len(outcomes)
    await eventually(lambda: len(outcomes) > asked_before + 20)
    is_over = True
    await reading

    assert [] == [outcome for outcome in outcomes if not isinstance(outcome, Lookup)]


@pytest.mark.django_db(transaction=True)
async def test_a_key_that_the_cloud_does_not_know_is_not_taken(
    emulator: Emulator, built: Sidecar, file: Path
) -> None:
    holds(file, "nobody-knows-this-key")
    await eventually(lambda: built.health.parts()["secrets"]["problem"] == "refused")
    fetched = await built.fetcher.fetch(EntityKey("customer-1"))
    emulator.api_keys.add("nobody-knows-this-key")
    await eventually(lambda: built.health.parts()["secrets"]["problem"] is None)

    assert isinstance(fetched, Lookup)
    assert "nobody-knows-this-key" == built.http_client.identity.headers["X-API-KEY"]


@pytest.mark.django_db(transaction=True)
async def test_a_revoked_key_heals_by_its_file(emulator: Emulator, built: Sidecar, file: Path) -> None:
    """The feed, which rests for half a minute after a refused key, is followed at once."""
    feed = built.open_feed(Nobody())
    following = asyncio.create_task(feed.run())
    await emulator.feed.subscribed("entitlementsUpdatedV2")
    emulator.api_keys.clear()
    emulator.feed.drop()
    await eventually(lambda: feed.state.problem is Problem.KEY_REFUSED)
    emulator.api_keys.add("second-key-of-this-test")
    holds(file, "second-key-of-this-test")

    await eventually(lambda: feed.state.problem is None)
    following.cancel()

    assert KeyVerdict.VALID is built.key_check.verdict


class RedisParts:
    """A sidecar's connection to a Redis whose user's password stands in a file."""

    def __init__(self, built: Sidecar, connection: RedisConnection, folder: Path) -> None:
        self.built = built
        self.connection = connection
        self.username_file = folder / "username"
        self.password_file = folder / "password"

    async def whoami(self) -> object:
        """As whom Redis knows a connection that is dialled now."""
        self.connection.client.connection_pool.disconnect()
        return await self.connection.run(lambda client: client.acl_whoami())

    def problem_of(self, variable: str) -> str | None:
        """Why what its file holds is not in use."""
        return self.built.secret_rotation.followed[variable].problem


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        server.command("ACL", "SETUSER", "first", "on", ">first-password", "~*", "&*", "+@all")
        yield server


@pytest.fixture
async def redis_parts(server: RedisServer, tmp_path: Path, emulator: Emulator) -> AsyncIterator[RedisParts]:
    holds(tmp_path / "username", "first")
    holds(tmp_path / "password", "first-password")
    address = RedisAddress(
        host="127.0.0.1", port=server.port, credentials=Credentials("first", "first-password")
    )
    files = {"REDIS_USERNAME": tmp_path / "username", "REDIS_PASSWORD": tmp_path / "password"}
    built = build(load(environment_for(emulator, tmp_path, SIDECAR_OUTBOX="off")).config, secret_files=files)
    follow_redis_credentials(built, address)
    with stopping(connection_to(address)) as connection:
        yield RedisParts(built, connection, tmp_path)
    await built.http_client.aclose()


async def test_a_new_password_of_redis_is_shown_by_new_connections(
    server: RedisServer, redis_parts: RedisParts
) -> None:
    before = await redis_parts.whoami()
    server.command("ACL", "SETUSER", "first", ">second-password", "<first-password")
    refused = await redis_parts.whoami()
    holds(redis_parts.password_file, "second-password")
    await redis_parts.built.secret_rotation.look()
    after = await redis_parts.whoami()

    assert "first" == before
    assert UNAVAILABLE is refused
    assert "first" == after


async def test_a_password_that_redis_refuses_is_not_taken(redis_parts: RedisParts) -> None:
    holds(redis_parts.password_file, "nobodys-password")
    await redis_parts.built.secret_rotation.look()

    assert "refused" == redis_parts.problem_of("REDIS_PASSWORD")
    assert "first" == await redis_parts.whoami()


async def test_a_redis_that_does_not_answer_says_nothing_of_a_password(
    server: RedisServer, redis_parts: RedisParts
) -> None:
    server.stop()
    holds(redis_parts.password_file, "second-password")
    await redis_parts.built.secret_rotation.look()

    assert "untried" == redis_parts.problem_of("REDIS_PASSWORD")


async def test_username_and_password_rotate_together(server: RedisServer, redis_parts: RedisParts) -> None:
    """The files change one after the other; between, nothing is taken."""
    server.command("ACL", "SETUSER", "second", "on", ">second-password", "~*", "&*", "+@all")
    holds(redis_parts.username_file, "second")
    await redis_parts.built.secret_rotation.look()
    between = await redis_parts.whoami()
    holds(redis_parts.password_file, "second-password")
    await redis_parts.built.secret_rotation.look()
    after = await redis_parts.whoami()

    assert "first" == between
    assert "second" == after
