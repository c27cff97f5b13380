"""Health and metrics over real HTTP, whatever stands before or beside them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from emulator.server import Emulator
from sidecar_project import monitoring
from sidecar_project.monitoring import MetricsPage
from tests.eventually import eventually
from tests.harness import SidecarProcess, http_client, running_sidecar


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sidecar(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SidecarProcess]:
    """One for all of these tests, which only read."""
    async with (
        Emulator(states={}) as emulator,
        running_sidecar(emulator, tmp_path_factory.mktemp("sidecar")) as sidecar,
    ):
        await sidecar.following()
        yield sidecar


@pytest.mark.asyncio(loop_scope="module")
async def test_what_the_http_port_answers(sidecar: SidecarProcess) -> None:
    """contract/operations.md, Ports."""
    live, ready = await sidecar.get("/livez"), await sidecar.get("/readyz")
    verbose, metrics, unknown = (
        await sidecar.get("/readyz?verbose"),
        await sidecar.get("/metrics"),
        await sidecar.get("/nothing"),
    )

    assert 200 == live.status_code
    assert {"status": "UP"} == live.json()
    assert 200 == ready.status_code
    assert {"status": "UP"} == ready.json()
    assert {"upstream", "feed", "memory"} <= set(verbose.json()["parts"])
    assert metrics.headers["content-type"].startswith("text/plain")
    assert 404 == unknown.status_code


@pytest.mark.asyncio(loop_scope="module")
async def test_the_six_names_of_the_vendor_are_there(sidecar: SidecarProcess) -> None:
    """Dashboards know them: a counter that never moved is there with 0."""
    text = (await sidecar.get("/metrics")).text

    for name in (
        "sidecar_initialization_errors_total",
        "sidecar_invalid_api_key_errors_total",
        "sidecar_network_request_errors_total",
        "sidecar_redis_client_errors_total",
        "sidecar_cache_hits_total",
        "sidecar_cache_misses_total",
        "process_resident_memory_bytes",
    ):
        assert f"\n{name} " in text, name


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_probes_are_only_read(sidecar: SidecarProcess, path: str) -> None:
    async with http_client() as client:
        answer = await client.post(f"http://127.0.0.1:{sidecar.http_port}{path}")

    assert 405 == answer.status_code
    assert "GET, HEAD" == answer.headers["allow"]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("host", ["stigg_sidecar:8080", "a_b.c", "[::1", "x" * 300, "-"])
async def test_monitoring_comes_by_any_name_and_never_leaves_a_trace_back(
    sidecar: SidecarProcess, host: str
) -> None:
    """Compose and swarm name services with underscores; elsewhere such a name is refused in a line."""
    async with http_client(
        base_url=f"http://127.0.0.1:{sidecar.http_port}", headers={"host": host}
    ) as client:
        statuses = [
            (await client.get(path)).status_code
            for path in ("/livez", "/readyz?verbose", "/metrics", "/admin/")
        ]

    assert [200] * 3 == statuses[:3]
    assert statuses[3] in {302, 400}
    assert "Traceback" not in sidecar.output


async def test_without_the_admin_the_rest_is_the_same(emulator: Emulator, tmp_path: Path) -> None:
    async with running_sidecar(emulator, tmp_path, SIDECAR_ADMIN_ENABLED="0") as sidecar:
        statuses = [
            (await sidecar.get(path)).status_code for path in ("/livez", "/metrics", "/admin/", "/static/x")
        ]

    assert [200, 200, 404, 404] == statuses


async def test_scrapes_share_a_page_that_was_begun_after_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty scrapers in a circle had the checks wait for them; now pages are made one after the other."""
    begun: list[int] = []
    may_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    page = MetricsPage()

    def slow_page() -> bytes:
        begun.append(1)
        asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result()
        return b"%d" % len(begun)

    monkeypatch.setattr(monitoring, "_page", slow_page)
    monkeypatch.setattr(monitoring, "PAGES_SHARE", 1)
    first = [asyncio.create_task(page(b"")) for _ in range(3)]
    await eventually(lambda: len(begun) == 1)
    second = [asyncio.create_task(page(b"")) for _ in range(3)]
    may_end.set()

    bodies = [answer.body for answer in await asyncio.gather(*first, *second)]

    assert [b"1"] * 3 + [b"2"] * 3 == bodies
