"""The listener of SIDECAR_HTTP_PORT: uvicorn on the loop that is there."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import uvicorn

from entitlements.background import awaited
from entitlements.listener import Listener
from entitlements.service.change_notifier import ChangeNotifier
from entitlements.service.health import PartState
from http_service.app import HttpApi
from http_service.bounds import IDLE_SECONDS, MAX_CONNECTIONS, BoundedProtocol, refused

_MEANING = "The Connect protocol, OFREP and those who watch are answered."
_MEANING_FULL = "As many connections are open as may be; one more is closed at once."
BACKLOG = 1024


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process: it drains everything in order."""
        yield


class HttpApiServer:
    """One server; `start` and `stop` belong to one loop."""

    def __init__(self, api: HttpApi, listeners: Sequence[socket.socket], *, changes: ChangeNotifier) -> None:
        """Listens, and ends the streams of `changes` when it stops."""
        config = uvicorn.Config(
            api,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            backlog=BACKLOG,
            workers=1,  # else WEB_CONCURRENCY is read, which is another's
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
        )
        config.load()
        self._server = _Server(config)
        on_exhausted = partial(refused, "no_file_descriptor")
        self._listeners = [Listener(opened, on_exhausted) for opened in listeners]
        self._changes = changes
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listeners[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Answers from now on."""
        self._task = awaited(self._server.serve([*self._listeners]), name="http-api")

    async def stop(self, *, grace_seconds: float) -> None:
        """Takes no new requests, lets those under way end within the grace period; may be called twice."""
        self._changes.close()  # who watches comes back to another instance
        self._server.config.timeout_graceful_shutdown = max(round(grace_seconds), 1)
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        for listener in self._listeners:
            listener.close()

    def state(self) -> PartState:
        """For people."""
        connections = len(self._server.server_state.connections)
        is_full = connections >= MAX_CONNECTIONS
        return PartState(
            problem="too_many_connections" if is_full else None,
            meaning=_MEANING_FULL if is_full else _MEANING,
            details={
                "connections": connections,
                "max_connections": MAX_CONNECTIONS,
                "watchers": self._changes.count,
                "requests": self._server.server_state.total_requests,
            },
        )
