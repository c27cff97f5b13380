"""The emulator's life: one port for all transports, opened, closed and opened again on the same address."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from aiohttp import web

from emulator.catalogue import demo_states
from emulator.cloud import Cloud
from emulator.control import PREFIX, handle_control
from emulator.counters import Counters
from emulator.dates import Clock, system_now_ms
from emulator.edge import handle_edge
from emulator.faults import Faults
from emulator.feed import Feed
from emulator.graphql_http import handle_graphql
from emulator.graphql_ws import handle_ws
from emulator.http_answers import json_response, reset_connection
from emulator.state import CloudState
from emulator.usage import Json, Scope

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024 * 1024
BACKLOG = 1_024
SHUTDOWN_SECONDS = 1.0
GRAPHQL_PATH = "/graphql"


class Emulator:
    """A Stigg cloud on one port of this machine; `async with Emulator() as emulator:` starts and stops it."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        now_ms: Clock = system_now_ms,
        states: Mapping[Scope, Json] | None = None,
        seed: int = 0,
    ) -> None:
        """Prepare an emulator; nothing listens before `start`.

        Args:
            host: The address to listen on.
            port: The port; 0 chooses a free one.
            api_key: The only key accepted, until `api_keys` changes; None makes one up.
            now_ms: The clock, epoch milliseconds.
            states: Who is known at the start; None: the demo catalogue; `{}`: nobody.
            seed: For the faults' chance.
        """
        self._host = host
        self._port = port
        self.api_key = api_key or f"server-{secrets.token_hex(16)}"
        self.api_keys = {self.api_key}
        """The keys accepted at present: a key is rotated by adding one and removing the other."""
        self.state = CloudState(now_ms=now_ms, states=demo_states(now_ms()) if states is None else states)
        self.faults = Faults(seed=seed)
        self.counters = Counters()
        self.feed = Feed()
        self.state.listeners.append(self.feed.publish)
        self._now_ms = now_ms
        self._cloud: Cloud | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._kept: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port it listens on; once started it stays the same."""
        return self._port

    @property
    def url(self) -> str:
        """What to use as API_URL and EDGE_API_URL."""
        return f"http://{self._host}:{self._port}"

    @property
    def edge_url(self) -> str:
        """What to use as EDGE_API_URL: the same port serves all."""
        return self.url

    @property
    def ws_url(self) -> str:
        """What to use as WS_URL; clients append /graphql."""
        return f"ws://{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. Starting what is started does nothing."""
        if self._runner is not None:
            return
        self._cloud = Cloud(
            api_keys=self.api_keys,
            state=self.state,
            faults=self.faults,
            counters=self.counters,
            feed=self.feed,
            now_ms=self._now_ms,
        )
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_route("*", r"/{path:[\s\S]*}", self._dispatch)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await self._runner.setup()
        await self.resume_listening()

    async def stop(self) -> None:
        """Close everything, hanging requests and open sockets included. Stopping twice does nothing."""
        if self._runner is None or self._cloud is None:
            return
        runner, self._runner = self._runner, None
        await self._close_site()
        self._cloud.stopping.set()
        _reset_connections(runner)
        await runner.cleanup()
        self._release_port()

    async def stop_listening(self) -> None:
        """Refuse connections on the port, and reset those that are open, until `resume_listening`."""
        if self._site is None or self._runner is None:
            return
        await self._close_site()
        self._kept = self._bound()
        _reset_connections(self._runner)

    async def resume_listening(self) -> None:
        """Listen again on the same port. Listening twice does nothing."""
        if self._site is not None or self._runner is None:
            return
        self._release_port()
        listener = self._bound()
        self._port = listener.getsockname()[1]
        self._site = web.SockSite(self._runner, listener, backlog=BACKLOG)
        await self._site.start()

    async def _close_site(self) -> None:
        if self._site is not None:
            await self._site.stop()
            self._site = None

    def _bound(self) -> socket.socket:
        """Bind a socket to our address; until it listens it keeps the port, and connections are refused."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((self._host, self._port))
        except OSError:
            bound.close()
            raise
        return bound

    def _release_port(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        if self._cloud is None:
            return web.Response(status=web.HTTPServiceUnavailable.status_code)
        if request.path.startswith(PREFIX):
            return await handle_control(request, self._cloud)
        if request.path != GRAPHQL_PATH:
            return await handle_edge(request, self._cloud)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await handle_ws(request, self._cloud)
        if request.method == "POST":
            return await handle_graphql(request, self._cloud)
        body = {"statusCode": 405, "message": "Method Not Allowed"}
        return json_response(body, status=web.HTTPMethodNotAllowed.status_code)


def _reset_connections(runner: web.AppRunner) -> None:
    if runner.server is not None:
        for connection in runner.server.connections:
            reset_connection(connection.transport)


async def serve(
    host: str,
    port: int,
    api_key: str | None,
    *,
    states: Mapping[Scope, Json] | None = None,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Run an emulator until cancelled.

    Args:
        host: The address to listen on.
        port: The port; 0 chooses a free one.
        api_key: The only key accepted; None makes one up (and announces it).
        states: Who is known at the start; None: the demo catalogue.
        announce: Told where it listens, once it does, and how a sidecar is pointed at it; None: the log is.
    """
    async with Emulator(host=host, port=port, api_key=api_key, states=states) as emulator:
        key = "…" if api_key else emulator.api_key
        (announce or logger.info)(
            f"Stigg emulator listening on {emulator.url}\n"
            f"a sidecar uses it with SERVER_API_KEY={key} API_URL={emulator.url} WS_URL={emulator.ws_url}"
        )
        await asyncio.Event().wait()
