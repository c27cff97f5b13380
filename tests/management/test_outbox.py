"""`manage.py outbox` beside a running sidecar."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from emulator.server import Emulator
from entitlements.domain.outbox import TOO_OLD
from grpc_service.generated import sidecar_pb2 as pb
from tests.eventually import eventually
from tests.harness import client_of, environment_for, running_sidecar, spawned

REQUEST = pb.ReportEventsRequest(
    events=[
        pb.Event(event_name="opened", customer_id="customer-1", idempotency_key="good"),
        pb.Event(event_name="opened", customer_id="nobody", idempotency_key="poison"),
    ]
)


async def _said(environment: dict[str, str], *arguments: str, code: int = 0) -> str:
    async with spawned(environment, *arguments, command="outbox") as command:
        assert await command.process.wait() == code, command.output
        await command.stop()
        return command.output


async def test_refused_event_is_listed_replayed_and_discarded(emulator: Emulator, tmp_path: Path) -> None:
    """Only the culprit, with the cloud's reason; its good neighbour is delivered."""
    environment = environment_for(emulator, tmp_path, LOG_LEVEL="error")
    async with running_sidecar(emulator, tmp_path) as sidecar, client_of(sidecar) as client:
        emulator.faults.set("graphql", "down")
        await client.ReportEvents(REQUEST, timeout=15)
        waiting = json.loads(await _said(environment, "list", "--json"))
        assert [("waiting", "good"), ("waiting", "poison")] == [
            (row["state"], row["idempotency_key"]) for row in waiting
        ]
        emulator.faults.set(
            "graphql", "errors_200", customer_id="nobody", code="CustomerNotFound", message="no such customer"
        )
        await sidecar.printed("the cloud refused a write of the outbox")

        refused = json.loads(await _said(environment, "list", "--json"))
        assert [("dead", "poison", "nobody")] == [
            (row["state"], row["idempotency_key"], row["customer"]) for row in refused
        ]
        assert "no such customer" in refused[0]["reason"]
        assert ["good"] == list(emulator.state.ledger.keys())

        assert "discarded: 0" in await _said(environment, "discard", "999999", code=1)
        make_too_old(tmp_path)
        kept = await _said(environment, "replay", "--all", code=1)
        assert "replayed: 0" in kept
        assert "1 not replayed: they waited for seven days" in kept
        emulator.faults.clear("graphql")
        assert "replayed: 1" in await _said(environment, "replay", refused[0]["id"], "--even-too-old")
        await emulator.state.ledger.events_reached(2, timeout_seconds=20)
        emulator.faults.set("graphql", "down")
        await client.ReportEvents(REQUEST, timeout=15)
        assert "discarded: 2" in await _said(environment, "discard", "--all", "--waiting")

        async def nothing_waits() -> bool:
            parts = await sidecar.parts()
            return bool(parts["outbox"]["waiting"] == 0)

        await eventually(nothing_waits)


def make_too_old(folder: Path) -> None:
    """As if it had waited for eight days."""
    with closing(sqlite3.connect(next(folder.rglob("outbox.sqlite3")))) as file, file:
        file.execute("UPDATE entries SET reason = ?, accepted_at_ms = accepted_at_ms - 691200000", [TOO_OLD])


async def test_nothing_named_is_nothing_done(tmp_path: Path) -> None:
    """All is said, not assumed."""
    environment = environment_for(None, tmp_path, SERVER_API_KEY="made-up")

    assert "--all" in await _said(environment, "discard", code=2)
    assert "goes with discard --all" in await _said(environment, "replay", "--all", "--waiting", code=2)


async def test_no_outbox_is_reported(tmp_path: Path) -> None:
    """By the variable's name."""
    environment = environment_for(None, tmp_path, SERVER_API_KEY="made-up", SIDECAR_OUTBOX="off")

    assert "SIDECAR_OUTBOX" in await _said(environment, "list", code=2)
