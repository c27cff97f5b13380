"""Strangers attack METRICS_PORT and GRPC_PORT; hits and probes hardly notice."""

from pathlib import Path

import pytest

from emulator.server import Emulator
from tests.chaos import grpc_attacks, http_attacks
from tests.chaos.attacks import FEW_FILES, under_attack
from tests.chaos.hostile import SCALE
from tests.chaos.noticed import CUSTOMER
from tests.cloud_states import boolean_state
from tests.harness import environment_for, spawned

pytestmark = pytest.mark.timeout(60 + 20 * SCALE * len(http_attacks.ATTACKS))
MAX_GROWTH_MB = 100
"""Of one attack; one body of big_body alone was as much."""
UNNOTICED = {
    "cq": ("headers_only", "many_headers_only", "unread_replies", "watchers", "taken_back"),
    "aio": ("headers_only", "unread_replies", "watchers", "taken_back"),
}
"""Attacks on GRPC_PORT that nobody may notice; the others, and these on aio, make the machine itself busy."""

SECONDS = {"cq": 1, "aio": 3}
"""grpc.aio accepts one call after the other, also those taken back by then: a hit behind them waits 1.5 s."""


async def test_attacks_on_the_http_port_harm_nobody_else(emulator: Emulator, tmp_path: Path) -> None:
    """Every check is answered, /livez in time, memory stays, and no trace back is logged."""
    emulator.state.put(CUSTOMER, boolean_state())
    environment = environment_for(emulator, tmp_path, SIDECAR_OUTBOX="off")
    async with spawned(environment, prefix=FEW_FILES) as sidecar:
        await sidecar.started()
        for name in http_attacks.ATTACKS:
            noticed = await under_attack(sidecar, name, seconds=SCALE)

            assert [] == noticed.failures, name
            assert 0 == noticed.livez_missed, name
            assert noticed.checks, name
            assert noticed.growth_mb < MAX_GROWTH_MB, name
        assert "Traceback" not in sidecar.output
        for cause in ("too_large", "too_many_connections", "too_many_logins"):
            assert await sidecar.metric(f'sidecar_http_refused_requests_total{{cause="{cause}"}}') > 0


@pytest.mark.parametrize("engine", UNNOTICED)
async def test_attacks_on_the_grpc_port_harm_nobody_else(
    emulator: Emulator, tmp_path: Path, engine: str
) -> None:
    """Every check is answered, health as well, and /livez in time."""
    assert set(UNNOTICED[engine]) <= set(grpc_attacks.ATTACKS)
    emulator.state.put(CUSTOMER, boolean_state())
    environment = environment_for(emulator, tmp_path, SIDECAR_OUTBOX="off", SIDECAR_GRPC_ENGINE=engine)
    async with spawned(environment) as sidecar:
        await sidecar.started()
        for name in UNNOTICED[engine]:
            noticed = await under_attack(sidecar, name, seconds=SECONDS[engine] * SCALE)

            assert [] == noticed.failures, name
            assert 0 == noticed.livez_missed, name
            assert noticed.checks, name
