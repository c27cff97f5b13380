"""Readiness as grpc.health.v1, for the server as a whole and for the sidecar's service."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

from grpc_service.errors import PublicStatus
from grpc_service.methods import Method, Refused, Reply, StreamMethod, UnaryMethod

_UNKNOWN_SERVICE = PublicStatus(grpc.StatusCode.NOT_FOUND, "no such service is served here")
_Response = health_pb2.HealthCheckResponse
_messages: Any = health_pb2  # its stubs do not know List yet


class GrpcHealth:
    """Mirrors readiness; its coroutines belong to the loop that watchers are answered on."""

    def __init__(self, service: str) -> None:
        self._served = ("", service)
        self._status: int = _Response.NOT_SERVING
        self._is_closed = False
        self._changed = asyncio.Condition()

    async def set_serving(self, *, is_serving: bool) -> None:
        """Tells whoever checks or watches."""
        async with self._changed:
            self._status = _Response.SERVING if is_serving else _Response.NOT_SERVING
            self._changed.notify_all()

    async def close(self) -> None:
        """Ends what watchers receive, so that no watcher holds up the end of the server."""
        async with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def methods(self) -> tuple[Method, ...]:
        """Check, List and Watch; whatever else waits, a probe does not."""
        return (
            UnaryMethod(path=f"/{health.SERVICE_NAME}/Check", begin=self._check),
            UnaryMethod(path=f"/{health.SERVICE_NAME}/List", begin=self._list),
            StreamMethod(path=f"/{health.SERVICE_NAME}/Watch", answer=self._watch),
        )

    def _check(self, request: bytes) -> Reply:
        status = self._status_of(health_pb2.HealthCheckRequest.FromString(request).service)
        if status == _Response.SERVICE_UNKNOWN:
            raise Refused(_UNKNOWN_SERVICE)
        return _Response(status=status).SerializeToString(), ()

    def _list(self, request: bytes) -> Reply:
        """The status of every service that Check knows."""
        _messages.HealthListRequest.FromString(request)
        statuses = {service: _Response(status=self._status_of(service)) for service in self._served}
        return _messages.HealthListResponse(statuses=statuses).SerializeToString(), ()

    async def _watch(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The status now, and at each change for as long as the caller listens."""
        service = health_pb2.HealthCheckRequest.FromString(await anext(aiter(requests), b"")).service
        while not self._is_closed:
            status = self._status_of(service)
            yield _Response(status=status).SerializeToString()
            async with self._changed:
                await self._changed.wait_for(partial(self._is_news, service, status))

    def _is_news(self, service: str, sent: int) -> bool:
        return self._is_closed or self._status_of(service) != sent

    def _status_of(self, service: str) -> int:
        return self._status if service in self._served else _Response.SERVICE_UNKNOWN
