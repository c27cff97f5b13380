"""`manage.py override`: in force in a running sidecar, until it ends or is ended; how soon: tests/doors."""

import json
from pathlib import Path

import pytest

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from tests.cloud_states import boolean_state
from tests.eventually import eventually
from tests.harness import Client, check, client_of, environment_for, running_sidecar
from tests.management.command_runs import run

ON = {"SIDECAR_OVERRIDES": "1"}


async def test_a_customer_is_let_in_and_kept_out_again(emulator: Emulator, tmp_path: Path) -> None:
    """What was begun is listed with who, why and its end, and logged."""
    emulator.state.put("c", boolean_state(feature_id="g"), push=False)
    environment = environment_for(emulator, tmp_path, **ON)
    async with running_sidecar(emulator, tmp_path, **ON) as sidecar, client_of(sidecar) as client:
        await sidecar.following()
        before = await check(client, "c")
        began = await run(
            environment, "override", "grant", "c", "f", "--for", "5m", "--reason", "a repair", "--json"
        )
        await _answered(client, "c", has_access=True)
        source = await _source_of(client, "c")
        problem = (await sidecar.parts())["overrides"]["problem"]
        explained = await run(environment, "explain", "c", "f", "--json")
        listed = await run(environment, "override", "list", "--json")
        ended = await run(environment, "override", "end", began.as_json["began"])
        await _answered(client, "c", has_access=False)
        again = await run(environment, "override", "end", began.as_json["began"])
        over = await run(environment, "override", "list", "--json")
        log = await sidecar.printed("override ended")

    (row,), (last,) = listed.as_json, over.as_json
    assert not before.has_access
    assert 0 == began.code
    assert "override" == source
    assert "in_force" == problem
    assert explained.as_json["headline"].startswith('Granted by an override: "a repair", by ')
    assert explained.as_json["override"]["agrees"] is False
    expected = {
        "state": "in force",
        "verdict": "grant",
        "customer": "c",
        "subject": "f",
        "reason": "a repair",
        "author": last["ended_by"],
    }
    assert expected == {name: row[name] for name in expected}
    assert "ended" == last["state"]
    assert 0 == ended.code
    assert 1 == again.code
    assert json.loads(log)["cause"] == "ended"


async def _answered(client: Client, customer_id: str, *, has_access: bool) -> None:
    async def is_so() -> bool:
        return (await check(client, customer_id)).has_access is has_access

    await eventually(is_so)


async def _source_of(client: Client, customer_id: str) -> str:
    request = pb.GetBooleanEntitlementRequest(customer_id=customer_id, feature_id="f")
    call = client.GetBooleanEntitlement(request)
    await call
    return str(dict(await call.trailing_metadata())["stigg-source"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("grant", "c", "f", "--reason", " "), "reason must be given"),
        (("grant", "c", "f"), "--reason"),
        (("grant", "c", "f", "--reason", "r", "--for", "8d"), "no longer than 7 days"),
        (("grant", "c", "f", "--reason", "r", "--for", "soon"), "duration must be"),
        (("deny", "c", "f", "--reason", "r", "--limit", "3"), "--limit"),
        (("grant", "c", "f", "--reason", "r", "--limit", "-3"), "limit must be"),
    ],
)
async def test_what_cannot_be_begun_is_refused_by_its_name(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    environment = environment_for(None, tmp_path, OFFLINE="1", **ON)
    done = await run(environment, "override", *arguments)

    assert 2 == done.code, done.output
    assert words in done.output, done.output
    assert "Traceback" not in done.output, done.output


async def test_without_the_switch_nobody_overrides(tmp_path: Path) -> None:
    """Not by the command, and what stands in the database answers nothing."""
    off = environment_for(None, tmp_path, OFFLINE="1")
    on = off | ON
    refused = await run(off, "override", "grant", "c", "f", "--reason", "r")
    begun = await run(on, "override", "grant", "c", "f", "--reason", "r")
    async with running_sidecar(None, tmp_path, OFFLINE="1") as sidecar, client_of(sidecar) as client:
        answer = await check(client, "c")
        parts = await sidecar.parts()

    assert 2 == refused.code
    assert "SIDECAR_OVERRIDES=1" in refused.output
    assert 0 == begun.code
    assert not answer.has_access
    assert "overrides" not in parts
