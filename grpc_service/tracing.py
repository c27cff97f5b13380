"""A span around every call, as a child of the caller's; imported only where traces are asked for.

Names as in https://opentelemetry.io/docs/specs/semconv/rpc/grpc/.
"""

import asyncio

import grpc
from opentelemetry.propagate import extract
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer

from entitlements.correlation import TRACEPARENT
from grpc_service.methods import Call, Middleware, Refused, Reply, UnaryMethod, answered, on_loop

STATUS = "rpc.grpc.status_code"
_FAULTS_OF_OURS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes that make a server's span an error, by the convention; the others are a matter of the caller."""


def spans_around(tracer: Tracer) -> Middleware:
    """Has a span made around every call of a method, with the provenance of a read as attributes."""

    def middlewares(method: UnaryMethod) -> UnaryMethod:
        service, _, name = method.path.removeprefix("/").rpartition("/")

        async def answer(request: bytes, call: Call) -> Reply:
            with tracer.start_as_current_span(
                f"{service}/{name}",
                context=extract({key: value for key, value in call.metadata if isinstance(value, str)}),
                kind=SpanKind.SERVER,
                attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
                record_exception=False,  # its text may hold what is nobody's business
                set_status_on_exception=False,
            ) as span:
                return await _answered_within(span, method, request, call)

        return UnaryMethod(path=method.path, begin=on_loop(answer))

    return middlewares


async def _answered_within(span: Span, method: UnaryMethod, request: bytes, call: Call) -> Reply:
    code = grpc.StatusCode.INTERNAL
    try:
        reply = await answered(method, request, _named_after(span, call))
        code = grpc.StatusCode.OK
    except Refused as refused:
        code = refused.status.code
        raise
    except asyncio.CancelledError:
        code = grpc.StatusCode.CANCELLED
        raise
    finally:
        span.set_attribute(STATUS, code.value[0])
        if code in _FAULTS_OF_OURS:
            span.set_status(StatusCode.ERROR, code.name)
    _, provenance = reply
    span.set_attributes({key.replace("-", ".", 1): value.decode() for key, value in provenance})
    return reply


def _named_after(span: Span, call: Call) -> Call:
    """The call, with our own span in place of the caller's: log lines belong to it."""
    context = span.get_span_context()
    ours = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return call._replace(metadata=((TRACEPARENT, ours), *call.metadata))
