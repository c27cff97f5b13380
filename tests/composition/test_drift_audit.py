"""The drift audit in the whole graph: the emulator over HTTP, its budget, Redis, and what people see."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from emulator.server import Emulator
from entitlements.admin.overview import _audited
from entitlements.composition import Sidecar, build
from entitlements.composition.optional_states import DRIFT_REPORTED_SECONDS
from entitlements.config import load
from entitlements.domain.entity import EntityKey
from entitlements.domain.membership import LeaseStatus, Membership
from entitlements.redis.address import RedisAddress, cache_settings
from entitlements.service.drift_audit import DriftAudit, Outcome
from tests.cloud_states import boolean_state, metered_state
from tests.fakes import FakeClock
from tests.harness import environment_for
from tests.redis_server import RedisServer

KEY = EntityKey("customer-7")
NEWER = "2026-06-02T00:00:00.000Z"
Build = Callable[..., Awaitable[tuple[Sidecar, DriftAudit]]]


@pytest.fixture
async def building(emulator: Emulator, tmp_path: Path) -> AsyncIterator[Build]:
    """Makes processes that follow the feed and hold one customer; an audit waits for nothing."""
    emulator.state.put(KEY.customer_id, boolean_state(), push=False)
    async with AsyncExitStack() as stack:
        usual = {"SIDECAR_OUTBOX": "off", "SIDECAR_AUDITS_PER_MINUTE": "6"}

        async def make(**variables: str) -> tuple[Sidecar, DriftAudit]:
            environment = environment_for(emulator, tmp_path, **usual, **variables)
            built = build(load(environment).config, clock=FakeClock())
            stack.push_async_callback(built.http_client.aclose)
            stack.push_async_callback(built.background.stop)
            if built.redis is not None:
                stack.push_async_callback(asyncio.to_thread, built.redis.connection.stop)
            built.feed_trust.move(_alone)
            built.feed_applier.followed()
            await built.fetcher.fetch(KEY)
            assert built.drift_audit is not None
            built.drift_audit._sleep = no_time
            return built, built.drift_audit

        yield make


def _alone(member: Membership, now: float) -> Membership:
    return member.leased(LeaseStatus.UNKNOWN, now=now)


async def no_time(_seconds: float) -> None:
    await asyncio.sleep(0)


async def test_the_same_state_by_both_ways_to_the_cloud_is_no_drift(
    building: Build, emulator: Emulator
) -> None:
    """It came from the Edge, and the API is the one that is asked; in short: both are read alike."""
    emulator.state.put(KEY.customer_id, metered_state(usage=3), push=False)
    built, audit = await building()
    emulator.faults.set("edge", "down")

    assert await audit.take_turn() is Outcome.RIGHT
    assert built.memory.entries == 1


async def test_a_change_that_was_never_sent_is_found_repaired_and_reported(
    building: Build, emulator: Emulator
) -> None:
    built, audit = await building()
    asked_before = emulator.counters.total("edge")
    assert ("-", "nothing was audited yet") == _audited(built)
    emulator.state.put(KEY.customer_id, boolean_state(granted=False, updated_at=NEWER), push=False)

    assert await audit.take_turn() is Outcome.DIFFERED
    held = built.memory.peek(KEY)
    assert held is not None
    assert held.entity.features["f"].denied_reason is not None
    assert asked_before + 2 == emulator.counters.total("edge")
    reported = built.health.parts()["drift_audit"]
    assert ("differs", 0.0, {"access": 1}, 1) == tuple(
        reported[name] for name in ("problem", "right_share", "differences", "differed")
    )
    assert ("0%", "differences from the cloud: 1") == _audited(built)


async def test_what_was_found_long_ago_is_no_problem(building: Build, emulator: Emulator) -> None:
    built, audit = await building()
    audit.differed_at = built.clock.monotonic() - DRIFT_REPORTED_SECONDS + 1
    assert built.health.parts()["drift_audit"]["problem"] == "differs"
    audit.differed_at -= 1

    assert await audit.take_turn() is Outcome.RIGHT
    assert built.health.parts()["drift_audit"]["problem"] is None
    assert ("100%", "no difference from the cloud") == _audited(built)


async def test_processes_of_one_redis_share_their_turns(
    building: Build, emulator: Emulator, settings: Any
) -> None:
    """However many there are, so many audits a minute are made of all."""
    with RedisServer() as redis:
        address = RedisAddress(host="127.0.0.1", port=redis.port)
        settings.REDIS_ADDRESS = address
        settings.CACHES = {**settings.CACHES, "redis": cache_settings(address)}
        settings.REDIS_ADDRESS = address
        variables = {"REDIS_ENVIRONMENT_PREFIX": "p", "REDIS_PORT": str(redis.port)}
        audits = [(await building(**variables))[1] for _ in range(3)]

        outcomes = await asyncio.gather(*(each.take_turn() for each in audits))

    assert sorted(map(str, [Outcome.RIGHT, None, None])) == sorted(map(str, outcomes))


@pytest.mark.parametrize(
    "variables", [{"SIDECAR_AUDITS_PER_MINUTE": "0"}, {"OFFLINE": "1"}, {"WS_ENABLED": "0"}]
)
async def test_it_can_be_off(variables: dict[str, str]) -> None:
    """And it is, where changes are not sent at all."""
    built = build(load({"SERVER_API_KEY": "made-up", "SIDECAR_OUTBOX": "off", **variables}).config)
    await built.http_client.aclose()

    assert built.drift_audit is None
    assert "drift_audit" not in built.health.parts()
    assert ("-", "nothing is audited") == _audited(built)
