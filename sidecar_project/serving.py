"""One process: gRPC, HTTP and the background worker on one loop; the order of start, and of drain."""

import asyncio
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial

from channels.layers import get_channel_layer
from channels.worker import Worker

from entitlements import control, metrics
from entitlements.admin.history import HISTORY
from entitlements.background import awaited, ended
from entitlements.clock import ThreadClocks
from entitlements.composition import Sidecar, data_dir
from entitlements.config import SidecarConfig, redis_place
from entitlements.control_socket import name_of
from entitlements.frame_channel import FEED_CHANNEL
from entitlements.listener import spare_the_log
from grpc_service.engines.selection import choose_engine
from grpc_service.methods import Middleware
from grpc_service.server import GrpcServer, ServerLimits
from grpc_service.servicer import SidecarServicer
from grpc_service.tap import tapped
from sidecar_project.asgi import application
from sidecar_project.http_server import HttpServer, twisted_loop
from sidecar_project.last_resort import LastResort
from sidecar_project.log_format import START_LOGGER
from sidecar_project.middlewares import middlewares
from sidecar_project.ports import listen, port_of, tls_files
from sidecar_project.settings import TRACES_WANTED
from sidecar_project.tracing import traced
from sidecar_project.workers import beat, beat_once

logger = logging.getLogger(__name__)

HTTP_TIMEOUT_SECONDS = 30
"""An HTTP request takes no longer."""
CLOSING_SECONDS = 1.0
"""The part of the grace period that is kept for what comes after the last call."""
COUNT_TASKS_SECONDS = 1.0
"""So often the tasks on the event loop are counted."""


def serve(sidecar: Sidecar, config: SidecarConfig, *, worker_http_fds: Sequence[int] = ()) -> None:
    """Serves until SIGTERM or SIGINT, then drains and returns.

    Args:
        sidecar: the parts.
        config: what is in force.
        worker_http_fds: given in one of several workers: the HTTP listeners that they share.

    Raises:
        PortUnavailable: a listener could not be opened; nothing listens then.
        UnusableTlsFiles: PORT cannot be served with the files given; the same.
    """
    if worker_http_fds:
        http_sockets: Sequence[socket.socket] = [socket.socket(fileno=each) for each in worker_http_fds]
    else:
        http_sockets = listen(config.sidecar_listen_host, config.metrics_port)
    is_worker = bool(worker_http_fds)
    http_port = port_of(http_sockets)
    serving = _Process(sidecar, config, http_port, is_worker=is_worker, last_resort=LastResort())
    work = serving.run()
    process = awaited(work, name="process", loop=twisted_loop)
    http_server = HttpServer(
        application,
        endpoints=[f"fd:fileno={each.fileno()}" for each in http_sockets],
        signal_handlers=False,
        http_timeout=HTTP_TIMEOUT_SECONDS,
        server_name="stigg-sidecar",
        verbosity=0,
    )
    process.add_done_callback(lambda _: http_server.stop())
    http_server.run()
    process.result()


async def _count_tasks() -> None:
    while True:
        metrics.EVENT_LOOP_TASKS.set(len(asyncio.all_tasks()))
        await asyncio.sleep(COUNT_TASKS_SECONDS)


class _Process:
    """What runs on the loop from start to drain."""

    def __init__(
        self,
        sidecar: Sidecar,
        config: SidecarConfig,
        http_port: int,
        *,
        is_worker: bool,
        last_resort: LastResort,
    ) -> None:
        self._sidecar = sidecar
        self._config = config
        self._is_worker = is_worker
        self._ports = {"HTTP": http_port}
        self._last_resort = last_resort

    async def run(self) -> None:
        """Starts everything, waits for a signal, and ends everything in order."""
        stopped = _stop_signal()
        spare_the_log(asyncio.get_running_loop())
        if self._is_worker:
            _stop_with_parent(stopped)
        commands = control.served(self._sidecar, data_dir(), name=name_of(self._ports["HTTP"]))
        async with (
            self._sidecar.running(),
            traced(self._sidecar.http_client, wanted=TRACES_WANTED) as spans,
            middlewares(self._sidecar) as around,
            self._grpc(middlewares=[*around, *spans]) as grpc_server,
            self._http_api(grpc_server),
            self._worker(),
            commands,
            self._history(),
            self._beats(),
            self._sidecar.background.kept("count-tasks", _count_tasks),
        ):
            self._sidecar.health.start_serving()
            self._announce()
            await stopped.wait()
            self._last_resort.start(self._config.sidecar_shutdown_grace_seconds)
            logging.getLogger(START_LOGGER).info("draining: no new calls after %g s", self._pause_seconds)
            self._sidecar.health.stop_serving()
            await grpc_server.drain()
            # Calls are still answered meanwhile: whoever follows health needs a moment to turn elsewhere.
            await asyncio.sleep(self._pause_seconds)

    @asynccontextmanager
    async def _grpc(self, *, middlewares: Sequence[Middleware]) -> AsyncIterator[GrpcServer]:
        servicer = SidecarServicer(
            reader=self._sidecar.reader,
            response_cache=self._sidecar.response_cache,
            usage_reporter=self._sidecar.usage_reporter,
            maintenance=self._sidecar.maintenance,
            new_idempotency_key=lambda: str(uuid.uuid4()),
            sends_provenance=self._config.sidecar_provenance,
        )
        limits = ServerLimits(
            max_message_bytes=self._config.sidecar_max_message_bytes,
            max_concurrent_calls=self._config.sidecar_max_concurrent_calls,
            max_connection_age_seconds=self._config.sidecar_max_connection_age_seconds,
        )
        server = GrpcServer(
            servicer,
            limits=limits,
            shares_port=self._is_worker,
            middlewares=middlewares,
            make_engine=await choose_engine(self._config.sidecar_grpc_engine),
        )
        self._sidecar.health.add_part("grpc", server.state)
        self._sidecar.recorder.attach(partial(tapped, server.methods))
        host = self._config.sidecar_listen_host
        self._ports["gRPC"] = server.listen(host, self._config.grpc_port)
        tls = tls_files(self._config)
        if tls is not None:
            self._ports["gRPC over TLS"] = server.listen(host, self._config.port, tls=tls)
        await server.start()
        if server.hits_thread is not None:
            self._sidecar.fetch_throttle.watch(ThreadClocks(server.hits_thread))
        try:
            yield server
        finally:
            self._sidecar.fetch_throttle.watch(None)  # the thread that was watched ends with the server
            await server.stop(grace_seconds=self._calls_grace_seconds)
            self._last_resort.calls_ended()

    @asynccontextmanager
    async def _http_api(self, grpc_server: GrpcServer) -> AsyncIterator[None]:
        """HTTP for applications: the same methods, as gRPC serves them."""
        config = self._config
        if config.sidecar_http_port is None:
            yield
            return
        # Here: uvicorn, of which nobody has a use who listens on no SIDECAR_HTTP_PORT.
        from http_service.app import HttpApi  # noqa: PLC0415
        from http_service.connect import ConnectDoor  # noqa: PLC0415
        from http_service.ofrep import OfrepDoor  # noqa: PLC0415
        from http_service.server import HttpApiServer  # noqa: PLC0415
        from http_service.watch import WatchDoor  # noqa: PLC0415

        connect = ConnectDoor(grpc_server.methods)
        ofrep = OfrepDoor(grpc_server.methods, rules=self._sidecar.rules)
        watch = WatchDoor(self._sidecar.changes)
        token = None if config.sidecar_http_token is None else config.sidecar_http_token.get_secret_value()
        api = HttpApi(
            [connect, ofrep, watch],
            token=token,
            origins=config.sidecar_http_origins,
            max_body_bytes=config.sidecar_max_message_bytes,
            monotonic=self._sidecar.clock.monotonic,
        )
        if token is not None:
            self._sidecar.secret_rotation.follow("SIDECAR_HTTP_TOKEN", token, take=api.take_token)
        listeners = listen(config.sidecar_listen_host, config.sidecar_http_port, shares_port=self._is_worker)
        server = HttpApiServer(api, listeners, changes=self._sidecar.changes)
        self._ports["HTTP for applications"] = server.port
        self._sidecar.health.add_part("http", server.state)
        await server.start()
        try:
            yield
        finally:
            await server.stop(grace_seconds=self._calls_grace_seconds)

    @property
    def _pause_seconds(self) -> float:
        """The part of the grace period in which new calls are still answered."""
        return min(self._config.sidecar_drain_seconds, self._config.sidecar_shutdown_grace_seconds)

    @property
    def _calls_grace_seconds(self) -> float:
        """The part of the grace period in which calls under way may end."""
        left = self._config.sidecar_shutdown_grace_seconds - self._pause_seconds - CLOSING_SECONDS
        return max(left, 0)

    def _history(self) -> AbstractAsyncContextManager[None]:
        """What the admin's charts show, counted from now on."""
        if not self._config.sidecar_admin_enabled:
            return nullcontext()
        return HISTORY.kept(self._sidecar.background, counts_all_workers=self._is_worker)

    @asynccontextmanager
    async def _beats(self) -> AsyncIterator[None]:
        """In a worker, the parent is sent that the loop turns: one that hangs is replaced."""
        if not self._is_worker:
            yield
            return
        with socket.socket(fileno=os.dup(sys.stdin.fileno())) as parent:
            beat_once(parent)  # before anybody is told that it listens: from now on it may not hang for long
            async with self._sidecar.background.kept("beat", partial(beat, parent)):
                yield

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[None]:
        if not self._config.follows_feed:
            yield
            return
        async with self._sidecar.background.kept("worker", self._run_worker):
            yield

    async def _run_worker(self) -> None:
        """Runs the Channels worker; one that ends is a gap."""
        worker = Worker(application, [FEED_CHANNEL], get_channel_layer())
        try:
            await get_channel_layer().send(FEED_CHANNEL, {"type": "feed.start"})
            await worker.arun()
        except Exception:
            self._sidecar.feed_applier.missed("worker_ended")
            raise
        finally:
            await _end_consumers(worker)

    def _announce(self) -> None:
        """One line: what listens where, and what it will use."""
        config = self._config
        ports = ", ".join(f"{name} on port {port}" for name, port in self._ports.items())
        if config.offline:
            cloud = "no cloud (OFFLINE)"
        else:
            edge = f", Edge {config.edge_api_url}" if config.edge_enabled else ""
            feed = f", live feed {config.ws_url}" if config.ws_enabled else ", no live feed"
            cloud = f"API {config.api_url}{edge}{feed}"
        logging.getLogger(START_LOGGER).info(
            "listening: %s at %s; using %s%s", ports, config.sidecar_listen_host, cloud, self._redis_text()
        )

    def _redis_text(self) -> str:
        redis = self._sidecar.redis
        if redis is None:
            return ""
        sentences = "".join(f"; {sentence}" for sentence in redis.sentences)
        return f", Redis {redis_place(self._config)}{sentences}"


async def _end_consumers(worker: Worker) -> None:
    await ended(*(details["future"] for details in worker.application_instances.values()))


def _stop_signal() -> asyncio.Event:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped


def _stop_with_parent(stopped: asyncio.Event) -> None:
    """A worker whose parent died is out of control: its standard input ends with the parent."""
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stopped.set)
