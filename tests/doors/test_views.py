"""Liveness and readiness over real HTTP."""

import httpx
import pytest

from tests.harness import SidecarProcess

pytestmark = pytest.mark.timeout(60)


async def test_what_the_http_port_answers(sidecar: SidecarProcess) -> None:
    """contract/operations.md, Ports."""
    live, ready = await sidecar.get("/livez"), await sidecar.get("/readyz")
    verbose, metrics, unknown = (
        await sidecar.get("/readyz?verbose"),
        await sidecar.get("/metrics"),
        await sidecar.get("/nothing"),
    )

    assert (200, {"status": "UP"}) == (live.status_code, live.json())
    assert (200, {"status": "UP"}) == (ready.status_code, ready.json())
    assert {"upstream", "feed", "memory"} <= set(verbose.json()["parts"])
    assert metrics.headers["content-type"].startswith("text/plain")
    assert 404 == unknown.status_code


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


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_probes_are_only_read(sidecar: SidecarProcess, path: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"http://127.0.0.1:{sidecar.http_port}{path}")

    assert answer.status_code in {403, 405}
