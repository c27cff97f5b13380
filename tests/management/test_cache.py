"""`cache` looks into a running sidecar, and carries what it holds to another."""

import json
import stat
from pathlib import Path

from emulator.server import Emulator
from tests.cloud_states import boolean_state, metered_state
from tests.harness import (
    Client,
    SidecarProcess,
    check,
    client_of,
    environment_for,
    is_granted,
    running_sidecar,
    usage_of,
)
from tests.management.command_runs import run
from tests.redis_server import RedisServer


async def test_what_is_held_is_counted_shown_and_forgotten(
    emulator: Emulator, sidecar: SidecarProcess, client: Client, tmp_path: Path
) -> None:
    """A customer who was forgotten is fetched again."""
    emulator.state.put("a", boolean_state(), push=False)
    environment = environment_for(emulator, tmp_path, LOG_LEVEL="error")
    assert (await run(environment, "cache", "get", "a")).code == 1
    assert await is_granted(client, "a")

    held = (await run(environment, "cache", "get", "a", "--json")).as_json
    stats = (await run(environment, "cache", "stats", "--json")).as_json
    evicted = await run(environment, "cache", "evict", "a")

    assert "memory" == held["tier"]
    assert held["age_seconds"] >= 0
    assert ["f"] == [each["feature"]["refId"] for each in held["state"]["entitlementsV2"]]
    assert 1 == stats["memory"]["entries"]
    assert 0 == evicted.code
    assert "evicted: 1\n" == evicted.output
    assert (await run(environment, "cache", "evict", "a")).code == 1
    assert await is_granted(client, "a")
    assert emulator.counters.fetches() == 2


async def test_an_export_is_the_file_of_an_offline_sidecar(
    emulator: Emulator, sidecar: SidecarProcess, client: Client, tmp_path: Path
) -> None:
    """What production knew is answered on a laptop; the file is its owner's alone."""
    emulator.state.put("a/ü", boolean_state(), push=False)
    emulator.state.put("b", metered_state(usage=7.5), push=False)
    assert await is_granted(client, "a/ü")
    assert await usage_of(client, "b") == 7.5
    file = tmp_path / "export.json"

    ended = await run(environment_for(emulator, tmp_path, LOG_LEVEL="error"), "cache", "export", str(file))

    assert ended.code == 0, ended.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with (
        running_sidecar(None, tmp_path / "laptop", OFFLINE="1", SIDECAR_OFFLINE_FILE=str(file)) as laptop,
        client_of(laptop) as there,
    ):
        assert await is_granted(there, "a/ü")
        assert await usage_of(there, "b") == 7.5


async def test_an_import_is_answered_and_an_export_prints_it(tmp_path: Path) -> None:
    """Offline without a file, nothing else could have sent it."""
    file = tmp_path / "customers.json"
    file.write_text(
        json.dumps({"customers": {"a": boolean_state(), "b": {"resources": {"r": boolean_state()}}}})
    )
    environment = environment_for(None, tmp_path, OFFLINE="1", LOG_LEVEL="error")
    async with running_sidecar(None, tmp_path, OFFLINE="1") as sidecar, client_of(sidecar) as client:
        assert (await check(client, "a")).is_fallback
        imported = await run(environment, "cache", "import", str(file), "--json")
        exported = await run(environment, "cache", "export")
        assert await is_granted(client, "a")

    assert {"imported": 2} == imported.as_json
    customers = exported.as_json["customers"]
    assert {"a", "b"} == set(customers)
    assert {"r"} == set(customers["b"]["resources"])


async def test_what_redis_holds_is_exported_too(emulator: Emulator, tmp_path: Path) -> None:
    """A process that just started knows in memory nothing of what all share."""
    emulator.state.put("a", boolean_state(), push=False)
    emulator.state.put("a", boolean_state(), resource_id="r", push=False)
    emulator.state.put("m", metered_state(usage=3), push=False)
    with RedisServer() as redis:
        shared = {"REDIS_ENVIRONMENT_PREFIX": "p*", "REDIS_PORT": str(redis.port)}
        async with running_sidecar(emulator, tmp_path, **shared) as first, client_of(first) as client:
            assert await is_granted(client, "a")
            assert await usage_of(client, "m") == 3
        redis.command("SET", "p*:c_junk", "[")
        redis.command("SET", "p*:c_junk#timestamp", "1")
        async with running_sidecar(emulator, tmp_path, **shared):
            environment = environment_for(emulator, tmp_path, LOG_LEVEL="error", **shared)
            customers = (await run(environment, "cache", "export")).as_json["customers"]
            evicted = await run(environment, "cache", "evict", "a")

        assert {"a", "m"} == set(customers)
        assert 3 == customers["m"]["entitlementsV2"][0]["currentUsage"]
        assert evicted.code == 0
        assert redis.text("p*:c_a") is None


async def test_nobody_to_ask_and_unusable_files_are_reported(tmp_path: Path) -> None:
    """In one line, with 2."""
    environment = environment_for(None, tmp_path, OFFLINE="1", LOG_LEVEL="error")
    away = await run(environment, "cache", "stats")
    broken = await run(environment, "cache", "import", str(tmp_path / "missing.json"))
    wrong = await run(environment, "cache", "polish")

    assert 2 == away.code
    assert 2 == broken.code
    assert 2 == wrong.code
    assert "no sidecar answers at " in away.output
    assert "missing.json: cannot be read" in broken.output
    assert "Traceback" not in away.output + broken.output + wrong.output
