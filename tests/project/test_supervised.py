"""Whatever runs beside requests in a running sidecar has a parent, which reports it."""

import asyncio
import inspect
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from emulator.server import Emulator
from entitlements import consumers, feed_group
from entitlements.composition import Sidecar, build
from entitlements.config import load
from entitlements.domain.membership import Role
from entitlements.redis.address import RedisAddress, cache_settings
from entitlements.service.key_check import KeyVerdict
from sidecar_project import serving
from sidecar_project.last_resort import LastResort
from tests.eventually import eventually
from tests.harness import ROOT, environment_for
from tests.redis_server import RedisServer

OURS = tuple(
    str(ROOT / package) + os.sep
    for package in ("entitlements", "grpc_service", "http_service", "sidecar_project")
)
ENGINE = str(ROOT / "grpc_service" / "engines") + os.sep
"""Its calls are the engine's own: it counts them, ends them, and answers what goes wrong in them."""
EXPECTED = {
    "circuits", "count-tasks", "drift-audit", "fallback-rules", "feed", "feed-lease",
    "health", "heartbeat", "history",
    "key-check", "metrics", "outbox", "overrides", "rechecks", "redis-examination", "snapshot", "worker",
}  # fmt: skip


class NeverEnds(LastResort):
    """The process is the tests' own: it goes on."""

    def start(self, seconds: float) -> None:
        assert seconds > 0


@asynccontextmanager
async def serving_here(built: Sidecar) -> AsyncIterator[None]:
    """The process of a sidecar, on this loop; all but its HTTP listener."""
    with socket.create_server(("127.0.0.1", 0)) as http:
        process = serving._Process(
            built, built.config, http.getsockname()[1], is_worker=False, last_resort=NeverEnds()
        )
        running = asyncio.create_task(process.run())
        await eventually(lambda: built.health.is_serving or running.done())
        try:
            yield
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            await running


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def fleet(settings: Any, server: RedisServer, emulator: Emulator, tmp_path: Path, unhurried: None) -> Sidecar:
    """A sidecar's parts with everything that there is: Redis, feed, outbox, snapshot, charts."""
    address = RedisAddress(host="127.0.0.1", port=server.port)
    settings.REDIS_ADDRESS = address
    settings.CACHES = {**settings.CACHES, "redis": cache_settings(address)}
    settings.DATA_DIR = tmp_path
    variables = {"REDIS_ENVIRONMENT_PREFIX": "p", "REDIS_PORT": str(server.port)}
    snapshot = {"SIDECAR_SNAPSHOT_FILE": str(tmp_path / "snapshot"), "SIDECAR_DRAIN_SECONDS": "0"}
    overrides = {"SIDECAR_AUDITS_PER_MINUTE": "6", "SIDECAR_OVERRIDES": "1", "SIDECAR_HTTP_PORT": "0"}
    return build(load(environment_for(emulator, tmp_path, **variables, **snapshot, **overrides)).config)


@pytest.mark.django_db(transaction=True)
async def test_every_task_has_a_parent(fleet: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task of ours that the supervisor does not know could end in silence."""
    monkeypatch.setattr(consumers, "sidecar", lambda: fleet)
    before = asyncio.all_tasks()
    async with serving_here(fleet):
        await eventually(lambda: fleet.feed_applier.trust.following)
        await eventually(lambda: fleet.key_check.verdict is KeyVerdict.VALID)
        tasks = asyncio.all_tasks() - before
        strangers = sorted(task.get_name() for task in tasks if _is_ours(task) and not _is_known(fleet, task))
        names = set(fleet.background.states)

    assert [] == strangers
    assert EXPECTED == names


@pytest.mark.django_db(transaction=True)
async def test_tasks_go_on_past_nonsense_in_redis(
    fleet: Sidecar, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted and reported; no task ends, and the sidecar leads again once the lease can be had."""
    monkeypatch.setattr(consumers, "sidecar", lambda: fleet)
    monkeypatch.setattr(feed_group, "RENEW_SECONDS", 0.05)
    redis = fleet.redis
    assert redis is not None
    async with serving_here(fleet):
        await _leads(fleet, is_leading=True)
        server.command("SET", b"p:c_\xff", "{}")  # no customer has such a name
        server.command("DEL", redis.keys.feed_lease)
        server.command("RPUSH", redis.keys.feed_lease, "nonsense")
        await _leads(fleet, is_leading=False)
        server.command("DEL", redis.keys.feed_lease)
        await _leads(fleet, is_leading=True)
        states = fleet.background.states

    assert {} == {name: state.failures for name, state in states.items() if state.failures}


@pytest.mark.django_db(transaction=True)
async def test_the_line_of_the_start_names_the_commands_that_are_refused(
    fleet: Sidecar,
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """So does the page; and calls are answered all the same."""
    monkeypatch.setattr(consumers, "sidecar", lambda: fleet)
    server.command("ACL", "SETUSER", "default", "-eval", "-psubscribe", "-subscribe", "-client|tracking")
    async with serving_here(fleet):
        part = fleet.health.parts()["redis"]
    line = next(text for text in caplog.messages if text.startswith("listening: "))

    assert f"Redis localhost port {server.port}; its user may not EVAL: nothing is read" in line
    assert "; its user may not SUBSCRIBE: " in line
    assert "; its user may not CLIENT TRACKING: " in line
    assert "lacking_rights" == part["problem"]
    assert ["EVAL", "CLIENT TRACKING", "SUBSCRIBE"] == part["refused_commands"]


async def _leads(built: Sidecar, *, is_leading: bool) -> None:
    await eventually(lambda: (built.feed_trust.membership.role is Role.LEADER) is is_leading)


def _is_ours(task: "asyncio.Task[Any]") -> bool:
    work: Any = task.get_coro()
    file = work.cr_code.co_filename if inspect.iscoroutine(work) else ""
    return file.startswith(OURS) and not file.startswith(ENGINE)


def _is_known(built: Sidecar, task: "asyncio.Task[Any]") -> bool:
    work: Any = task.get_coro()
    return built.background.knows(task) or work.__qualname__ == "_Process.run"  # the process itself
