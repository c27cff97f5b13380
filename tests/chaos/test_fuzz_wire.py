"""A sidecar under fire over its sockets, on both engines, while another client's calls go on."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from emulator.server import Emulator
from tests.chaos.bystander import watched
from tests.chaos.fuzz_calls import call_all
from tests.chaos.fuzz_http2 import ATTACKS
from tests.chaos.hostile import SCALE, SEED
from tests.cloud_states import boolean_state
from tests.harness import SidecarProcess, running_sidecar

pytestmark = pytest.mark.timeout(60 + 240 * SCALE)
H2SPEC = os.environ.get("H2SPEC") or shutil.which("h2spec")


@pytest.fixture(params=["aio", "cq"])
async def target(
    request: pytest.FixtureRequest, emulator: Emulator, tmp_path: Path
) -> AsyncIterator[SidecarProcess]:
    emulator.state.put("bystander", boolean_state())
    variables = {"SIDECAR_GRPC_ENGINE": request.param, "LOG_LEVEL": "warn", "SIDECAR_OUTBOX": "off"}
    async with running_sidecar(emulator, tmp_path, **variables) as sidecar:
        yield sidecar


async def test_calls_with_any_bytes_are_answered_or_refused(target: SidecarProcess) -> None:
    """Random bytes, mutated messages, and good ones with senseless values, to every method."""
    async with watched(target):
        codes = await call_all(target.address, Random(SEED), 5 * SCALE)

    assert {"OK", "INTERNAL", "INVALID_ARGUMENT"} <= set(codes)


@pytest.mark.parametrize("target", ["cq"], indirect=True)
async def test_hostile_http2_harms_nobody_else(target: SidecarProcess) -> None:
    """Broken frames, floods, bombs and resets."""
    for attack in ATTACKS:
        async with watched(target):
            await attack(target.grpc_port, Random(SEED), 20)


@pytest.mark.skipif(H2SPEC is None or SCALE == 1, reason="the long form, where h2spec is installed")
async def test_h2spec_harms_nobody_else(target: SidecarProcess) -> None:
    """Its verdicts are about web servers (here a GET has no answer); it counts that it breaks nothing."""
    async with watched(target):
        process = await asyncio.create_subprocess_exec(
            *(str(H2SPEC), "-h", "127.0.0.1", "-p", str(target.grpc_port), "--timeout", "1"),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()

    assert b"tests," in output
