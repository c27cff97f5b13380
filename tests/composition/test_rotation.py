"""A key that is rotated in its file: asked by the new one, with no failed read between."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from emulator.server import Emulator
from entitlements.composition import Sidecar, build
from entitlements.config import load
from entitlements.domain.entity import EntityKey
from entitlements.domain.ports import Lookup
from entitlements.service import secret_rotation
from entitlements.service.key_check import KeyVerdict
from entitlements.upstream.feed_protocol import Problem
from tests.harness import environment_for
from tests.project.turns import until


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
        await until(lambda: sidecar.key_check.verdict is KeyVerdict.VALID)
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
    await until(lambda: built.secret_rotation.followed["SERVER_API_KEY"].taken_ms is not None)
    emulator.api_keys.remove(emulator.api_key)
    asked_before = len(outcomes)
    await until(lambda: len(outcomes) > asked_before + 20)
    is_over = True
    await reading

    assert [] == [outcome for outcome in outcomes if not isinstance(outcome, Lookup)]


@pytest.mark.django_db(transaction=True)
async def test_a_key_that_the_cloud_does_not_know_is_not_taken(
    emulator: Emulator, built: Sidecar, file: Path
) -> None:
    holds(file, "nobody-knows-this-key")
    await until(lambda: built.health.parts()["secrets"]["problem"] == "refused")
    fetched = await built.fetcher.fetch(EntityKey("customer-1"))
    emulator.api_keys.add("nobody-knows-this-key")
    await until(lambda: built.health.parts()["secrets"]["problem"] is None)

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
    await until(lambda: feed.state.problem is Problem.KEY_REFUSED)
    emulator.api_keys.add("second-key-of-this-test")
    holds(file, "second-key-of-this-test")

    await until(lambda: feed.state.problem is None)
    following.cancel()

    assert KeyVerdict.VALID is built.key_check.verdict
