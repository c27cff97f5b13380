"""The emulator as the cloud, and a real HTTP client in front of it."""

from collections.abc import AsyncIterator

import pytest

from emulator.server import Emulator
from entitlements.upstream.edge import EdgeSource
from entitlements.upstream.graphql import GraphqlApi
from entitlements.upstream.transport import CloudTransport
from tests.fakes import FakeClock
from tests.upstream.parts import a_transport, an_identity


@pytest.fixture
async def http_client(emulator: Emulator) -> AsyncIterator[CloudTransport]:
    async with a_transport(an_identity(emulator.api_key)) as transport:
        yield transport


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def edge(emulator: Emulator, http_client: CloudTransport, clock: FakeClock) -> EdgeSource:
    return EdgeSource(http_client, base_url=emulator.edge_url, clock=clock)


@pytest.fixture
def api(emulator: Emulator, http_client: CloudTransport, clock: FakeClock) -> GraphqlApi:
    return GraphqlApi(http_client, base_url=emulator.url, clock=clock)
