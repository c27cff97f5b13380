"""The main job on real processes and sockets: the cloud is asked once, and its outages are survived."""

import asyncio
import json
import signal
import socket
import statistics
import time
from pathlib import Path

import grpc
import pytest

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.generated.sidecar_pb2_grpc import SidecarServiceStub
from tests.cloud_states import boolean_state, metered_state, wide_state
from tests.harness import (
    Client,
    SidecarProcess,
    check,
    client_of,
    environment_for,
    is_granted,
    json_lines,
    running_sidecar,
    spawned,
    until_answered,
    usage_of,
)

MANY_FEATURES = 12_000
DEFAULT_BOUND_OF_CLIENTS = 4 * 1024 * 1024
"""gRPC's own, of what a client receives."""


async def test_thousand_customers_asked_twice_are_thousand_fetches(
    emulator: Emulator, client: Client
) -> None:
    """The second answer of each comes from memory."""
    names = [f"customer-{number}" for number in range(1000)]
    for name in names:
        emulator.state.put(name, boolean_state(), push=False)

    for _ in range(2):
        for start in range(0, len(names), 20):  # all at once would measure the machine and not the counting
            granted = await asyncio.gather(*(is_granted(client, name) for name in names[start : start + 20]))
            assert all(granted)

    assert emulator.counters.fetches() == 1000


async def test_a_customer_of_twelve_thousand_features_is_a_customer(
    emulator: Emulator, tmp_path: Path
) -> None:
    """Asked three times its size opened both circuits; and a list of more than 4 MiB could not be sent."""
    state = wide_state(MANY_FEATURES, 1, updated_at="2026-06-01T00:00:00.000Z")
    for each in state["entitlementsV2"]:
        each["feature"]["refId"] += "x" * 360
    emulator.state.put("wide", state, push=False)
    emulator.state.put("customer-1", boolean_state(), push=False)
    options = [("grpc.max_receive_message_length", -1)]  # clients have bounds of their own
    async with (
        running_sidecar(emulator, tmp_path, SIDECAR_FETCH_BUDGET_SECONDS="60") as sidecar,
        grpc.aio.insecure_channel(sidecar.address, options=options) as channel,
    ):
        client: Client = SidecarServiceStub(channel)
        listed = await client.GetEntitlements(pb.GetEntitlementsRequest(customer_id="wide"), timeout=60)
        circuits = (await sidecar.parts())["upstream"]["circuits"]
        assert await is_granted(client, "customer-1")

    assert MANY_FEATURES == len(listed.entitlements)
    assert listed.ByteSize() > DEFAULT_BOUND_OF_CLIENTS
    assert {"edge": "closed", "api": "closed"} == circuits


async def test_two_hundred_first_calls_for_one_customer_are_one_fetch(
    emulator: Emulator, client: Client
) -> None:
    """However many wait for it, the cloud is asked once."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    emulator.faults.set("edge", "slow", delay_ms=300)

    granted = await asyncio.gather(*(is_granted(client, "customer-1") for _ in range(200)))

    assert all(granted)
    assert emulator.counters.fetches() == 1


async def test_outage_leaves_cached_answers_and_makes_the_others_quick(
    emulator: Emulator, client: Client, sidecar: SidecarProcess
) -> None:
    """Cached customers answer as before, the others at once while the circuit is open; it heals."""
    emulator.state.put("cached", boolean_state(), push=False)
    emulator.state.put("uncached", boolean_state(), push=False)
    assert await is_granted(client, "cached")
    await emulator.stop_listening()

    for number in range(5):
        await check(client, f"opens-the-circuit-{number}")
    seconds: dict[str, list[float]] = {"cached": [], "uncached": []}
    for _ in range(20):
        for name, durations in seconds.items():
            started = time.perf_counter()
            answer = await check(client, name)
            durations.append(time.perf_counter() - started)
            assert answer.is_fallback is (name == "uncached")

    assert statistics.median(seconds["uncached"]) < 20 * statistics.median(seconds["cached"])
    assert await is_granted(client, "cached")
    assert (await sidecar.parts())["upstream"]["circuits"] == {"edge": "open", "api": "open"}
    await emulator.resume_listening()
    await until_answered(client, "uncached")
    assert (await sidecar.metric("sidecar_network_request_errors_total")) > 0


@pytest.mark.parametrize("kind", ["down", "status", "garbage", "hang", "throttled", "errors_200"])
async def test_better_edge_failure_falls_over_to_the_api(
    emulator: Emulator, client: Client, kind: str
) -> None:
    """Whatever the Edge does wrong, the API answers within the same budget."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    emulator.faults.set("edge", kind)

    assert await is_granted(client, "customer-1")


async def test_better_ids_are_encoded_everywhere(emulator: Emulator, client: Client) -> None:
    """Ids are data: what looks like a path, an escape or a query reads its own customer."""
    names = ["a/b", "a%41b", "..", ".", "a b?c#d&e=f", "ключ/ü", "a\\b", "-" * 200]
    for name in names:
        emulator.state.put(name, boolean_state(), push=False)
    emulator.state.put("aAb", boolean_state(granted=False), push=False)
    emulator.state.put("c", boolean_state(granted=False), resource_id="r", push=False)
    emulator.state.put("c", boolean_state(), resource_id="r&x=1", push=False)

    assert all([await is_granted(client, name) for name in names])
    request = pb.GetBooleanEntitlementRequest(customer_id="c", feature_id="f", resource_id="r&x=1")
    assert (await client.GetBooleanEntitlement(request)).has_access


async def test_start_with_the_cloud_away_serves_fallbacks_and_heals(
    emulator: Emulator, tmp_path: Path
) -> None:
    """It starts, listens, answers, says why; and is well once the cloud is."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    await emulator.stop_listening()
    fallback = json.dumps({"f": {"hasAccess": True}})
    async with (
        running_sidecar(emulator, tmp_path, ENTITLEMENTS_FALLBACK=fallback) as sidecar,
        client_of(sidecar) as client,
    ):
        answer = await check(client, "customer-1")
        assert answer.has_access
        assert answer.is_fallback
        assert (await sidecar.get("/readyz")).json() == {"status": "UP"}
        await sidecar.printed("the API key could not be verified")

        await emulator.resume_listening()
        await sidecar.following(seconds=60)

        await until_answered(client, "customer-1")


async def test_refused_key_is_logged_loudly_and_never_shown(emulator: Emulator, tmp_path: Path) -> None:
    """Metric, log and readiness say it; at LOG_LEVEL=debug nothing printed holds the key."""
    key = "full-access-key-that-nobody-may-see"
    async with (
        running_sidecar(emulator, tmp_path, SERVER_API_KEY=key, LOG_LEVEL="debug") as sidecar,
        client_of(sidecar) as client,
    ):
        assert (await check(client, "customer-1")).is_fallback
        await sidecar.printed("refuses the API key")
        pages = [(await sidecar.get(path)).text for path in ("/metrics", "/readyz?verbose")]

        assert (await sidecar.parts())["upstream"]["api_key"] == "refused"
        assert await sidecar.metric("sidecar_invalid_api_key_errors_total") > 0
        assert await sidecar.stop() == 0
    assert all(key not in text for text in (*pages, sidecar.output))


async def test_debug_log_of_a_good_day_never_holds_the_key(emulator: Emulator, tmp_path: Path) -> None:
    """The frames of the feed and the headers of requests hold the key; the log does not."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    async with (
        running_sidecar(emulator, tmp_path, LOG_LEVEL="debug") as sidecar,
        client_of(sidecar) as client,
    ):
        await sidecar.following()
        await is_granted(client, "customer-1")
        await sidecar.stop()

    assert emulator.api_key not in sidecar.output
    assert any(line["level"] == "debug" for line in json_lines(sidecar.output))


async def test_three_mistakes_are_reported_in_one_start(tmp_path: Path) -> None:
    """Malformed fallbacks, an unknown log level and a port that is no number: three sentences, exit 1."""
    environment = environment_for(
        None,
        tmp_path,
        SERVER_API_KEY="key",
        ENTITLEMENTS_FALLBACK='{"f": {"hasAccess": tru}}',
        LOG_LEVEL="loud",
        GRPC_PORT="http",
    )
    async with spawned(environment) as process:
        code = await process.process.wait()
        await process.stop()

    reported = {line.split(" is ")[0] for line in process.output.splitlines()}
    assert code == 1
    assert reported == {"ENTITLEMENTS_FALLBACK", "LOG_LEVEL", "GRPC_PORT"}


@pytest.mark.parametrize("variable", ["GRPC_PORT", "METRICS_PORT"])
async def test_taken_port_is_one_clear_sentence(emulator: Emulator, tmp_path: Path, variable: str) -> None:
    """Nothing is shared in silence, and no traceback is printed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with spawned(environment_for(emulator, tmp_path, **{variable: str(port)})) as process:
            code = await process.process.wait()
            await process.stop()

    assert code == 1
    assert f"cannot listen on 127.0.0.1 port {port}: " in process.output
    assert "Traceback" not in process.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_drains_and_exits_with_zero(
    emulator: Emulator, sidecar: SidecarProcess, client: Client, number: signal.Signals
) -> None:
    """A call under way finishes, readiness is off meanwhile, and the exit code is 0."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    emulator.faults.set("edge", "slow", delay_ms=500)
    call = asyncio.create_task(is_granted(client, "customer-1"))
    await emulator.counters.reached("edge", 1)

    code = await sidecar.stop(number)

    assert await call
    assert code == 0


async def test_usage_report_shows_in_the_next_read(emulator: Emulator, client: Client) -> None:
    """The cached meter moves with the report's answer."""
    emulator.state.put("customer-1", metered_state(usage=5), push=False)
    assert await usage_of(client, "customer-1") == 5

    request = pb.ReportUsageRequest(customer_id="customer-1", feature_id="m", value=3)
    response = await client.ReportUsage(request, timeout=10)

    assert response.current_usage == 8
    assert await usage_of(client, "customer-1") == 8


async def test_a_line_of_the_log_names_the_request_that_it_is_about(
    emulator: Emulator, sidecar: SidecarProcess, client: Client
) -> None:
    """Whoever follows a trace, or has a caller's id, finds what the sidecar said of it."""
    trace_id, span_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    metadata = (("x-request-id", "r-1"), ("traceparent", f"00-{trace_id}-{span_id}-01"))
    await emulator.stop_listening()

    report = pb.ReportUsageRequest(customer_id="customer-1", feature_id="m", value=3)
    with pytest.raises(grpc.aio.AioRpcError):
        await client.ReportUsage(report, metadata=metadata, timeout=20)

    line = json.loads(await sidecar.printed("a call was refused"))
    expected = {
        "method": "ReportUsage",
        "code": "UNAVAILABLE",
        "request_id": "r-1",
        "trace_id": trace_id,
        "span_id": span_id,
    }
    assert expected == {name: line[name] for name in expected}


async def test_offline_asks_nobody(emulator: Emulator, tmp_path: Path) -> None:
    """Reads answer fallbacks, reports a random id, reloads true; no request leaves the process."""
    async with (
        running_sidecar(emulator, tmp_path, OFFLINE="1") as sidecar,
        client_of(sidecar) as client,
    ):
        assert (await check(client, "customer-1")).is_fallback
        report = pb.ReportUsageRequest(customer_id="customer-1", feature_id="m", value=3)
        first, second = [await client.ReportUsage(report) for _ in range(2)]
        event = pb.Event(event_name="e", customer_id="customer-1", idempotency_key="i")
        await client.ReportEvents(pb.ReportEventsRequest(events=[event]))
        reload = await client.ReloadEntitlements(pb.ReloadEntitlementsRequest(customer_id="customer-1"))

    assert first.measurement_id != second.measurement_id
    assert not first.HasField("current_usage")
    assert reload.entitled_entity_exists
    assert emulator.counters.as_json()["totals"] == {}


async def test_check_config_prints_what_is_in_force(emulator: Emulator, tmp_path: Path) -> None:
    """Values and origins, secrets masked; then it exits with 0."""
    environment = environment_for(emulator, tmp_path, LOG_LEVEL="debug")
    async with spawned(environment, "--check-config") as process:
        code = await process.process.wait()
        await process.stop()

    assert code == 0
    assert emulator.api_key not in process.output
    rows = {line.split()[0]: line.split()[1:3] for line in process.output.splitlines()}
    assert rows["SERVER_API_KEY"] == ["********", "environment"]
    assert rows["LOG_LEVEL"] == ["debug", "environment"]
    assert rows["METRICS_PORT"] == ["0", "environment"]
    assert rows["EDGE_ENABLED"] == ["True", "default"]
