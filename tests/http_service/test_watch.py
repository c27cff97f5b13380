"""Changes as Server-Sent Events, over real connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from entitlements.domain.entity import EntityKey
from entitlements.service import change_notifier
from entitlements.service.change_notifier import ChangeNotifier
from http_service import watch
from http_service.app import HttpApi
from http_service.server import HttpApiServer
from http_service.watch import WatchDoor
from sidecar_project.ports import listen
from tests.eventually import eventually
from tests.fakes import FakeClock
from tests.harness import http_client

EVENT = 'data: {"type": "refetchEvaluation"}'


@pytest.fixture
def changes() -> ChangeNotifier:
    return ChangeNotifier()


@pytest.fixture
async def server(changes: ChangeNotifier) -> AsyncIterator[HttpApiServer]:
    door = WatchDoor(changes)
    api = HttpApi(
        [door],
        token=None,
        origins=["https://app.example.com"],
        max_body_bytes=1000,
        monotonic=FakeClock().monotonic,
    )
    server = HttpApiServer(api, listen("127.0.0.1", 0), changes=changes)
    await server.start()
    yield server
    await server.stop(grace_seconds=0)


@pytest.fixture
async def client(server: HttpApiServer) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield client


class Stream:
    """What one client reads."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def line(self, start: str) -> str:
        """The next line that begins so."""
        async with asyncio.timeout(10):
            async for line in self._lines:
                if line.startswith(start):
                    return line
        return "ended"


@asynccontextmanager
async def watching(client: httpx.AsyncClient, query: str, **headers: str) -> AsyncIterator[Stream]:
    """A stream that is in force."""
    async with client.stream("GET", f"/v1/watch?{query}", headers=headers) as response:
        stream = Stream(response)
        await stream.line(": watching")
        yield stream


async def test_a_change_is_reported(client: httpx.AsyncClient, changes: ChangeNotifier) -> None:
    async with watching(client, "customer=c") as stream:
        changes.changed(EntityKey("c"))
        first = await stream.line("data")
        changes.changed(EntityKey("c", "r"))
        second = await stream.line("data")

    assert "text/event-stream" == stream.response.headers["content-type"]
    assert EVENT == first
    assert EVENT == second


async def test_a_resource_depends_on_its_customer(client: httpx.AsyncClient, changes: ChangeNotifier) -> None:
    async with watching(client, "customer=c&resource=r") as stream:
        changes.changed(EntityKey("c"))

        assert EVENT == await stream.line("data")


async def test_a_gap_is_announced_to_all(client: httpx.AsyncClient, changes: ChangeNotifier) -> None:
    async with watching(client, "customer=a") as a, watching(client, "customer=b") as b:
        changes.all_changed()

        assert EVENT == await a.line("data")
        assert EVENT == await b.line("data")


async def test_who_comes_back_is_informed_at_once(client: httpx.AsyncClient) -> None:
    """What it missed nobody knows."""
    async with watching(client, "customer=c", **{"Last-Event-ID": "7"}) as stream:
        assert EVENT == await stream.line("data")


async def test_an_idle_stream_says_that_it_is_there(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "KEEP_ALIVE_SECONDS", 0.02)
    async with watching(client, "customer=c") as stream:
        assert ": still watching" == await stream.line(": still")


async def test_who_leaves_is_forgotten(client: httpx.AsyncClient, changes: ChangeNotifier) -> None:
    async with watching(client, "customer=c"):
        during = changes.count
    await eventually(lambda: changes.count == 0)

    assert 1 == during
    assert not changes.is_watched("c")


async def test_a_stream_ends_with_the_process(client: httpx.AsyncClient, changes: ChangeNotifier) -> None:
    async with watching(client, "customer=c") as stream:
        changes.close()

        assert "ended" == await stream.line("data")


@pytest.mark.parametrize("bound", ["MAX_WATCHERS", "MAX_WATCHERS_PER_CUSTOMER"])
async def test_one_more_is_refused_until_another_leaves(
    client: httpx.AsyncClient, changes: ChangeNotifier, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(change_notifier, bound, 2)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(watching(client, "customer=c"))
        refused = await client.get("/v1/watch?customer=c")
    await eventually(lambda: changes.count == 0)
    async with watching(client, "customer=c"):
        pass

    assert 429 == refused.status_code
    assert "5" == refused.headers["retry-after"]


@pytest.mark.parametrize("query", ["", "customer=", "resource=r", "Customer=c"])
async def test_without_a_customer_one_sentence_names_the_parameter(
    client: httpx.AsyncClient, query: str
) -> None:
    response = await client.get(f"/v1/watch?{query}")

    assert 400 == response.status_code
    assert "customer must be" in response.json()["message"]


async def test_a_query_of_too_many_parameters_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/watch?" + "customer=c&" * 101)

    assert 400 == response.status_code
    assert "at most 100 parameters" in response.json()["message"]


async def test_another_verb_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/watch?customer=c")

    assert 405 == response.status_code
    assert "GET" == response.headers["allow"]


async def test_a_page_of_a_named_origin_may_watch(client: httpx.AsyncClient) -> None:
    async with watching(client, "customer=c", Origin="https://app.example.com") as stream:
        pass

    assert "https://app.example.com" == stream.response.headers["access-control-allow-origin"]
