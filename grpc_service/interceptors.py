"""Around every call: errors become statuses, and calls are counted and timed."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from entitlements import metrics
from entitlements.domain.errors import SidecarError
from grpc_service.errors import public_status

logger = logging.getLogger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Continuation: TypeAlias = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]


class Supervision(grpc.aio.ServerInterceptor):
    """Keeps the text of exceptions from callers, and the metrics of calls.

    Only methods that are served get a label: what callers name is unbounded.
    """

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """The same handler, supervised; streams are left as they are."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = handler_call_details.method.rpartition("/")[2]
        return grpc.unary_unary_rpc_method_handler(
            _supervised(handler.unary_unary, method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def _supervised(behavior: Any, method: str) -> Any:
    async def supervised(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        started = time.perf_counter()
        code = grpc.StatusCode.OK
        try:
            return await behavior(request, context)
        except grpc.aio.AbortError:
            code = context.code()
            raise
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            code, details = public_status(error)
            if not isinstance(error, SidecarError):
                logger.exception("a call ended in a defect", extra={"method": method})
            await context.abort(code, details)
        finally:
            metrics.GRPC_REQUESTS.labels(method, code.name).inc()
            metrics.GRPC_DURATION.labels(method).observe(time.perf_counter() - started)

    return supervised
