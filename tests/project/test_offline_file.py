"""A sidecar without a network that answers from a file."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cloud_states import boolean_state
from tests.eventually import MOST_SECONDS
from tests.harness import check, client_of, environment_for, is_granted, running_sidecar, spawned


def _write(path: Path, **customers: dict[str, Any]) -> None:
    path.write_text(json.dumps({"customers": customers}))


async def test_an_offline_sidecar_answers_from_its_file_and_follows_it(tmp_path: Path) -> None:
    """Whom the file does not know gets the fallback; an edit shows without a restart."""
    path = tmp_path / "customers.json"
    _write(path, a=boolean_state())
    async with (
        running_sidecar(None, tmp_path, OFFLINE="1", SIDECAR_OFFLINE_FILE=str(path)) as sidecar,
        client_of(sidecar) as client,
    ):
        assert await is_granted(client, "a")
        assert (await check(client, "b")).is_fallback

        _write(path, a=boolean_state(granted=False, updated_at="2020-01-01T00:00:00Z"))
        async with asyncio.timeout(MOST_SECONDS):
            while await is_granted(client, "a"):  # noqa: ASYNC110 - a file announces no events
                await asyncio.sleep(0.05)
        path.write_text("{")
        await sidecar.printed("the old one stays in force")

        assert not await is_granted(client, "a")
        part = (await sidecar.parts())["offline_file"]
        assert 1 == part["entities"]
        assert 1 == part["problems"]
        assert await sidecar.metric('sidecar_offline_file_reloads_total{outcome="refused"}') == 1


async def test_a_broken_file_keeps_the_sidecar_from_starting(tmp_path: Path) -> None:
    """Every fault in a line of its own, no traceback."""
    path = tmp_path / "customers.json"
    _write(path, a={}, b={"entitlementsV2": [1]})
    environment = environment_for(None, tmp_path, OFFLINE="1", SIDECAR_OFFLINE_FILE=str(path))
    async with spawned(environment) as process:
        code = await process.process.wait()
        await process.stop()

    assert code == 1
    assert "customers.json: customers.a.entitlementsV2: it must be a list of entitlements\n" in process.output
    assert "customers.json: customers.b.entitlementsV2[0]: it must be an object\n" in process.output
    assert "Traceback" not in process.output


@pytest.mark.parametrize("arguments", [[], ["--check-config"]])
async def test_a_file_that_cannot_be_used_is_reported_with_the_name_of_its_variable(
    tmp_path: Path, arguments: list[str]
) -> None:
    file = tmp_path / "offline.json"
    file.write_text("{")
    environment = environment_for(None, tmp_path, OFFLINE="1", SIDECAR_OFFLINE_FILE=str(file))
    async with spawned(environment, *arguments) as sidecar:
        code = await sidecar.process.wait()
        await sidecar.stop()

    assert 1 == code
    last = sidecar.output.strip().splitlines()[-1]
    assert last.startswith("SIDECAR_OFFLINE_FILE: offline.json: no JSON"), last
    assert "Traceback" not in sidecar.output
