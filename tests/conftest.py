"""Fixtures only: the cloud, and a sidecar in front of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from emulator.server import Emulator
from tests.harness import Client, SidecarProcess, client_of, running_sidecar


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """A Stigg cloud that knows nobody."""
    async with Emulator(states={}) as emulator:
        yield emulator


@pytest.fixture
async def sidecar(emulator: Emulator, tmp_path: Path) -> AsyncIterator[SidecarProcess]:
    """A sidecar in front of the emulator, following its feed."""
    async with running_sidecar(emulator, tmp_path) as sidecar:
        await sidecar.following()
        yield sidecar


@pytest.fixture
async def client(sidecar: SidecarProcess) -> AsyncIterator[Client]:
    """A grpcio client of it."""
    async with client_of(sidecar) as client:
        yield client
