"""Traces to a collector, over OTLP/HTTP; every setting is one of the standard OTEL_* variables."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import inject
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from requests.adapters import HTTPAdapter

from entitlements import metrics
from entitlements.addresses import is_loopback
from entitlements.clock import SystemClock
from entitlements.composition import VERSION
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.upstream.transport import CloudTransport, Headers, SpanOf
from grpc_service.tracing import spans_around

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 2.0
"""At the end, spans that wait may take so long to leave."""


class Traces:
    """The traces of one process: of the calls it answers, and of the requests it sends."""

    def __init__(self, transport: CloudTransport) -> None:
        """Traces the transport's requests from now on."""
        ours = Resource({"service.name": "stigg-sidecar", "service.version": VERSION})
        self._provider = TracerProvider(
            resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(session=session_that_knows_this_machine())
        self._provider.add_span_processor(BatchSpanProcessor(CountingExporter(exporter)))
        tracer = self._provider.get_tracer("stigg-sidecar", VERSION)
        transport.span_of = spans_of_requests(tracer)
        self.around = spans_around(tracer)
        """To be done around methods."""

    async def stop(self) -> None:
        """Sends what waits, as long as it does not take too long."""
        # A thread of its own, and a daemon: a collector that hangs must not keep the process.
        flushing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        flushing.start()
        await asyncio.to_thread(flushing.join, FLUSH_SECONDS)


def spans_of_requests(tracer: Tracer) -> SpanOf:
    """Has a span made of every request, whose trace the cloud is told."""

    @contextmanager
    def span_of(method: str, url: str, headers: Headers) -> Iterator[Callable[[int], None]]:
        with tracer.start_as_current_span(
            method,
            kind=SpanKind.CLIENT,
            attributes={"http.method": method, "http.url": url},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            def note_status(status: int) -> None:
                span.set_attribute("http.status_code", status)
                if status >= HTTPStatus.BAD_REQUEST:
                    span.set_status(StatusCode.ERROR)

            inject(headers)
            try:
                yield note_status
            except BaseException as error:
                span.set_status(StatusCode.ERROR, type(error).__name__)
                raise

    return span_of


def session_that_knows_this_machine() -> requests.Session:
    """As requests makes it, but a collector on this machine is not asked by way of a proxy."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _DirectToThisMachine())
    return session


class _DirectToThisMachine(HTTPAdapter):
    """Forgets the proxies of the environment for what is on this machine."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """See requests."""
        if is_loopback(urlsplit(str(request.url)).hostname or ""):
            options["proxies"] = None
        return super().send(request, *args, **options)


class CountingExporter(SpanExporter):
    """Counts what another exporter did not get rid of, and logs it once a minute."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._log = RateLimitedLog(logger, SystemClock().monotonic)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See SpanExporter."""
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            metrics.SPANS_LOST.inc(len(spans))
            self._log.warning("lost", "the collector of traces does not take them; checks go on as before")
        return result

    def shutdown(self) -> None:
        """See SpanExporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See SpanExporter."""
        return self._exporter.force_flush(timeout_millis)
