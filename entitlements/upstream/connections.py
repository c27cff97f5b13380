"""The connections to the cloud, which tell cheaply whether the cloud has closed them.

httpcore asks every idle connection at the start and at the end of every request. Its own answer gathers all
that is known of the socket first, by way of the system: among 30 connections that was half of what a fetch
cost.
"""

import select
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx


def quicken(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Has the client's own connections be such; those by way of a proxy stay as they are.

    httpx has no word for that: this rests on its private names.
    """
    client._transport._pool._network_backend = _Backend()  # type: ignore[attr-defined]
    return client


class _Backend(httpcore.AnyIOBackend):
    """Opens such connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See httpcore."""
        return _Stream(await super().connect_tcp(host, port, timeout, local_address, socket_options))


class _Stream(httpcore.AsyncNetworkStream):
    """httpcore's own, but for the question whether it is readable."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._socket = stream.get_extra_info("socket")
        self.read = stream.read  # type: ignore[method-assign]
        self.write = stream.write  # type: ignore[method-assign]
        self.aclose = stream.aclose  # type: ignore[method-assign]

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
    ) -> httpcore.AsyncNetworkStream:
        """See httpcore."""
        return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """See httpcore."""
        return self._is_readable() if info == "is_readable" else self._stream.get_extra_info(info)

    def _is_readable(self) -> bool:
        descriptor = self._socket.fileno()
        if descriptor < 0:
            return True
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        return bool(waiting.poll(0))
