"""`explain` asks a running sidecar why, and shows the rules, the fallback and the cloud's view."""

import json
from pathlib import Path

import pytest

from emulator.server import Emulator
from tests.cloud_states import metered_state
from tests.harness import Client, SidecarProcess, environment_for, usage_of
from tests.management.command_runs import run


async def test_a_denial_is_explained_from_the_memory_of_that_process(
    emulator: Emulator, sidecar: SidecarProcess, client: Client, tmp_path: Path
) -> None:
    """Not from a fetch of the command's own; the cloud's newer state shows beside it, and only there."""
    emulator.state.put("a", metered_state(usage=105, limit=100), push=False)
    assert await usage_of(client, "a") == 105
    emulator.state.put("a", metered_state(usage=3, limit=100), push=False)
    environment = environment_for(emulator, tmp_path, LOG_LEVEL="error")

    plain = await run(environment, "explain", "a", "m", "--usage", "1")
    explained = await run(environment, "explain", "a", "m", "--usage", "1", "--compare", "--json")

    assert 1 == plain.code
    assert "Denied: usage 105 + requested 1 exceeds the limit of 100" == plain.output.splitlines()[0]
    assert "reason: REQUESTED_USAGE_EXCEEDING_LIMIT" in plain.output
    assert "fallback: denies access (the default, as none is configured)" in plain.output
    assert f"memory of: process {sidecar.process.pid}" in plain.output
    assert ["data", "entitlement", "cloud", "limit"] == [step["rule"] for step in explained.as_json["steps"]]
    assert "memory" == explained.as_json["source"]
    assert "fresh" == explained.as_json["state"]
    differences = explained.as_json["comparison"]["differences"]
    assert ("105", "3") in [(each["here"], each["cloud"]) for each in differences]
    assert await usage_of(client, "a") == 105
    assert "known: none -> 1 entitlement; the cloud was asked" in plain.output.partition("changes:")[2]
    assert ["fetch"] == [each["whence"] for each in explained.as_json["history"]]


async def test_a_grant_and_a_fallback_of_the_database(
    emulator: Emulator, sidecar: SidecarProcess, tmp_path: Path
) -> None:
    """Granted is 0; where nothing is known the rule in force is named."""
    emulator.state.put("a", metered_state(usage=1), push=False)
    environment = environment_for(emulator, tmp_path, LOG_LEVEL="error")
    assert (await run(environment, "explain", "a", "m")).code == 0

    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"f": {"hasAccess": True}}))
    assert (await run(environment, "fallbacks", "import", str(rules))).code == 0
    by_rule = await run(environment, "explain", "a", "f", "--value", "x")
    by_call = await run(environment, "explain", "a", "f", "--fallback", "deny", "--resource", "r")
    typed = await run(environment, "explain", "a", "f", "--kind", "boolean")
    balance = await run(environment, "explain", "a", "tokens", "--currency")

    assert 0 == by_rule.code
    assert "Granted by a fallback (a rule of the database)" in by_rule.output
    assert 1 == by_call.code
    assert "Denied by a fallback (the call's own)" in by_call.output
    assert 1 == typed.code
    assert 1 == balance.code
    assert "reason: NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION" in typed.output
    assert "reason: ENTITLEMENT_NOT_FOUND" in balance.output


@pytest.mark.parametrize("words", [("a",), ("a", "f", "--usage", "nan"), ("a", "f")])
async def test_used_wrongly_or_nobody_to_ask(tmp_path: Path, words: tuple[str, ...]) -> None:
    environment = environment_for(None, tmp_path, SERVER_API_KEY="made-up", LOG_LEVEL="error")

    ended = await run(environment, "explain", *words)

    assert 2 == ended.code
    assert "Traceback" not in ended.output
