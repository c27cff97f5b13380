"""The decision log of a real sidecar: remembered replies too, on both engines; off unless asked for."""

from pathlib import Path

import pytest

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from tests.cloud_states import boolean_state
from tests.harness import check, client_of, json_lines, running_sidecar


@pytest.mark.parametrize("engine", ["aio", "cq"])
async def test_denials_are_logged_with_the_request_they_belong_to(
    emulator: Emulator, tmp_path: Path, engine: str
) -> None:
    """The first is a miss, the second a hit, the third a reply that is remembered."""
    emulator.state.put("secret-customer", boolean_state(granted=False), push=False)
    variables = {"SIDECAR_DECISION_LOG": "1", "SIDECAR_GRPC_ENGINE": engine, "LOG_LEVEL": "error"}
    async with running_sidecar(emulator, tmp_path, **variables) as sidecar, client_of(sidecar) as client:
        await sidecar.following()
        request = pb.GetBooleanEntitlementRequest(customer_id="secret-customer", feature_id="f")
        for number in range(3):
            metadata = (("x-request-id", f"r-{number}"),)
            await client.GetBooleanEntitlement(request, metadata=metadata, timeout=10)
        await sidecar.stop()

    lines = [line for line in json_lines(sidecar.output) if line["msg"] == "decision"]
    assert ["r-0", "r-1", "r-2"] == [line["request_id"] for line in lines]
    assert {("denied", "REVOKED")} == {(line["outcome"], line["reason"]) for line in lines}
    assert "memory" == lines[2]["source"]
    assert "secret-customer" not in sidecar.output


async def test_it_is_off_unless_asked_for(emulator: Emulator, tmp_path: Path) -> None:
    async with running_sidecar(emulator, tmp_path) as sidecar, client_of(sidecar) as client:
        await check(client, "customer-1")
        await sidecar.stop()

    assert '"decision"' not in sidecar.output
