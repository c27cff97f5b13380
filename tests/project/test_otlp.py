"""Traces of a real sidecar, as a real collector receives them over OTLP/HTTP."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from sidecar_project.otlp import session_that_knows_this_machine, spans_of_requests
from sidecar_project.tracing import traced
from sidecar_project.tracing_wanted import is_wanted
from tests.cloud_states import boolean_state
from tests.eventually import MOST_SECONDS
from tests.harness import ROOT, client_of, environment_for, is_granted, running_sidecar
from tests.upstream.clouds import Cloud, an_answer
from tests.upstream.parts import a_transport

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CHECK = "stigg.sidecar.v1.SidecarService/GetBooleanEntitlement"


class Collector:
    """Takes spans, until it is told to refuse them."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.status = 200
        self.port = 0
        self._arrived = asyncio.Condition()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Collector"]:
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        async with self._arrived:
            for resource in sent.resource_spans:
                self.resources.append({a.key: a.value.string_value for a in resource.resource.attributes})
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)
            self._arrived.notify_all()
        return web.Response(status=self.status)

    async def received(self, name: str) -> Any:
        """The first span of that name."""
        async with asyncio.timeout(MOST_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: any(span.name == name for span in self.spans))
        return next(span for span in self.spans if span.name == name)

    @property
    def variables(self) -> dict[str, str]:
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector().listening() as collector:
        yield collector


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


@pytest.mark.parametrize("engine", ["aio", "cq"])
async def test_a_call_is_a_span_of_its_callers_trace_and_so_are_its_requests(
    emulator: Emulator, collector: Collector, tmp_path: Path, engine: str
) -> None:
    """Caller, sidecar and cloud are one trace; a hit has a span too, and says where it came from."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    variables = {**collector.variables, "SIDECAR_GRPC_ENGINE": engine, "OTEL_SERVICE_NAME": "mine"}
    metadata = (("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"),)
    async with running_sidecar(emulator, tmp_path, **variables) as sidecar, client_of(sidecar) as client:
        request = pb.GetBooleanEntitlementRequest(customer_id="customer-1", feature_id="f")
        await client.GetBooleanEntitlement(request, metadata=metadata, timeout=10)
        await client.GetBooleanEntitlement(request, metadata=metadata, timeout=10)
        assert await sidecar.stop() == 0

    miss, hit = [span for span in collector.spans if span.name == CHECK]
    fetch = next(span for span in collector.spans if span.parent_span_id == miss.span_id)
    assert {TRACE_ID} == {span.trace_id.hex() for span in (miss, hit, fetch)}
    assert SPAN_ID == miss.parent_span_id.hex()
    assert "GET" == fetch.name
    assert {
        "http.method": "GET",
        "http.url": f"{emulator.edge_url}/v1/c/customer-1/entitlements-state.json",
        "http.status_code": 200,
    } == attributes(fetch)
    assert "grpc" == attributes(miss)["rpc.system"]
    assert 0 == attributes(miss)["rpc.grpc.status_code"]
    assert ["edge", "memory"] == [attributes(span)["stigg.source"] for span in (miss, hit)]
    assert "mine" == collector.resources[0]["service.name"]
    assert emulator.api_key not in repr(collector.spans)


async def test_the_cloud_is_told_the_trace_and_what_it_refuses_is_an_error() -> None:
    """A request without an answer as well."""
    exporting = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporting))
    async with Cloud(lambda _: an_answer(b"", status="503 Down")).listening() as cloud, a_transport() as http:
        http.span_of = spans_of_requests(provider.get_tracer("tests"))
        await (await http.ask("GET", cloud.url)).close()
        cloud.answers = lambda _: b"no http at all\r\n\r\n"
        with pytest.raises(aiohttp.ClientError):
            await http.ask("GET", cloud.url)

    refused, failed = exporting.get_finished_spans()
    assert f"traceparent: 00-{refused.context.trace_id:032x}-{refused.context.span_id:016x}-" in (
        cloud.heads[0].decode()
    )
    assert [StatusCode.ERROR] * 2 == [span.status.status_code for span in (refused, failed)]


async def test_a_failure_is_an_error_and_its_log_line_names_the_span(
    emulator: Emulator, collector: Collector, tmp_path: Path
) -> None:
    """Also when the caller has no trace: then it is one of our own."""
    async with (
        running_sidecar(emulator, tmp_path, **collector.variables) as sidecar,
        client_of(sidecar) as client,
    ):
        await emulator.stop_listening()
        with pytest.raises(Exception, match="UNAVAILABLE"):
            await client.ReportUsage(
                pb.ReportUsageRequest(customer_id="c", feature_id="f", value=1), timeout=20
            )
        line = json.loads(await sidecar.printed("a call was refused"))
        span = await collector.received("stigg.sidecar.v1.SidecarService/ReportUsage")

    assert line["trace_id"] == span.trace_id.hex()
    assert line["span_id"] == span.span_id.hex()
    assert 2 == span.status.code
    assert 14 == attributes(span)["rpc.grpc.status_code"]


async def test_a_collector_that_refuses_costs_no_call_and_is_reported_once(
    emulator: Emulator, collector: Collector, tmp_path: Path
) -> None:
    emulator.state.put("customer-1", boolean_state(), push=False)
    collector.status = 400
    async with (
        running_sidecar(emulator, tmp_path, **collector.variables) as sidecar,
        client_of(sidecar) as client,
    ):
        for _ in range(3):
            assert await is_granted(client, "customer-1")
            await sidecar.printed("the collector of traces does not take them")
        assert await sidecar.metric("sidecar_spans_lost_total") > 0
        assert await sidecar.stop() == 0

    assert 1 == sidecar.output.count("the collector of traces does not take them")


def test_without_the_variables_nothing_of_it_is_imported(tmp_path: Path) -> None:
    """No cost, and no need of the extra; redis-py imports some of it by itself where it is installed."""
    code = (
        "import django, sys; django.setup(); import sidecar_project.serving; "
        "ours = ('grpc_service.tracing', 'sidecar_project.otlp', 'opentelemetry.exporter'); "
        "sys.exit(any(name.startswith(ours) for name in sys.modules))"
    )
    environment = environment_for(
        None, tmp_path, OFFLINE="1", DJANGO_SETTINGS_MODULE="sidecar_project.settings"
    )

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)  # noqa: S603


async def test_a_missing_extra_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And no reason not to answer."""
    monkeypatch.setitem(sys.modules, "sidecar_project.otlp", None)
    async with a_transport() as transport, traced(transport, wanted=True) as middlewares:
        pass

    assert () == middlewares
    assert [
        "OTEL_* asks for traces, and the extra `tracing` is not installed: none are made"
    ] == caplog.messages


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_collector_on_this_machine_is_asked_directly(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """Spans went to the proxy, which knows no such collector, and were lost."""
    for variable in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    with session_that_knows_this_machine() as session:
        url = f"http://{host}:{collector.port}/v1/traces"
        answer = await asyncio.to_thread(session.post, url, data=b"", timeout=10)

    assert 200 == answer.status_code


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1"), ("OTEL_SPAN_LINK_COUNT_LIMIT", "many")],
)
async def test_a_variable_that_cannot_be_used_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    """It ended the process; nobody answered checks for want of traces."""
    monkeypatch.setenv(name, value)
    async with a_transport() as transport, traced(transport, wanted=True) as middlewares:
        pass

    assert () == middlewares
    assert [f"{name} cannot be used: no traces are made"] == caplog.messages


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_SERVICE_NAME": "mine"}, False),
    ],
)
def test_when_traces_are_wanted(environment: Mapping[str, str], wanted: bool) -> None:
    assert wanted is is_wanted(environment)
