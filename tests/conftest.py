"""Fixtures only: the cloud, and a sidecar in front of it."""

import logging
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from emulator.server import Emulator
from entitlements.redis import address, patience
from tests.harness import CALL_SECONDS, Client, SidecarProcess, client_of, running_sidecar
from tests.redis_fleet import ClusterFleet


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> Iterator[None]:
    """What the tests start can be interrupted, also where a shell runs them in the background, deaf to it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def no_warnings_of_slow_callbacks() -> Iterator[None]:
    """The development mode warns of it in the log, which tests compare; on a busy machine anything does."""
    logger = logging.getLogger("asyncio")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)


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


@pytest.fixture(scope="session")
def cluster_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterFleet]:
    with ClusterFleet(tmp_path_factory.mktemp("cluster"), replicas=False) as fleet:
        yield fleet


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is waited for: where a test leaves it running, only a busy machine keeps it from answering."""
    for name in ("LEAST_SECONDS", "MOST_SECONDS"):
        monkeypatch.setattr(patience, name, CALL_SECONDS)
    monkeypatch.setattr(address, "SOCKET_SECONDS", CALL_SECONDS)


@pytest.fixture
def cluster(cluster_fleet: ClusterFleet, unhurried: None) -> ClusterFleet:
    """A Cluster that is empty, and that a test leaves running."""
    cluster_fleet.empty()
    return cluster_fleet
