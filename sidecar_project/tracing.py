"""Traces where they are wanted; nothing of OpenTelemetry is imported where they are not."""

import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from entitlements.upstream.transport import CloudTransport
from grpc_service.methods import Middleware

logger = logging.getLogger(__name__)

_VARIABLE = re.compile("OTEL_[A-Z_]+")


@asynccontextmanager
async def traced(transport: CloudTransport, *, wanted: bool) -> AsyncIterator[Sequence[Middleware]]:
    """While entered, its requests are traced; gives what is to be done around methods."""
    if not wanted:
        yield ()
        return
    try:
        from sidecar_project.otlp import Traces  # noqa: PLC0415 - of an extra that may not be installed
    except ImportError:
        logger.warning("OTEL_* asks for traces, and the extra `tracing` is not installed: none are made")
        yield ()
        return
    try:
        traces = Traces(transport)
    except Exception as error:  # noqa: BLE001 - of whatever it makes of the variables; checks matter more
        names = sorted(set(_VARIABLE.findall(str(error)))) or ["OTEL_*"]
        logger.warning("%s cannot be used: no traces are made", ", ".join(names))
        yield ()
        return
    try:
        yield (traces.around,)
    finally:
        await traces.stop()
