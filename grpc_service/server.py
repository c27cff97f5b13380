"""Listeners, bounds, reflection and the graceful stop of the gRPC server."""

from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from grpc_service.generated.sidecar_pb2_grpc import add_SidecarServiceServicer_to_server
from grpc_service.health import SERVICE, GrpcHealth
from grpc_service.interceptors import Supervision
from grpc_service.servicer import SidecarServicer
from grpc_service.tls import TlsFiles, reloading_credentials

MAX_STREAMS_PER_CONNECTION = 1000
MAX_METADATA_BYTES = 16 * 1024
"""A call with more metadata is refused."""
SHORTEST_PING_INTERVAL_MS = 5_000
"""A client that pings more often is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What one server takes."""

    max_message_bytes: int
    """A larger message is RESOURCE_EXHAUSTED (SIDECAR_MAX_MESSAGE_BYTES)."""
    max_concurrent_calls: int
    """One more call is RESOURCE_EXHAUSTED (SIDECAR_MAX_CONCURRENT_CALLS)."""


class PortUnavailable(Exception):
    """A listener could not be opened."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(host, port, reason)
        self.host = host
        self.port = port
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot listen on {self.host} port {self.port}: {self.reason}"


class GrpcServer:
    """One gRPC server; `start` and `stop` belong to one loop."""

    def __init__(self, servicer: SidecarServicer, *, limits: ServerLimits, shares_port: bool = False) -> None:
        """Serves nothing yet.

        Args:
            servicer: answers.
            limits: what is taken.
            shares_port: other processes listen on the same port; else that is an error.
        """
        self._health = GrpcHealth()
        self._server = grpc.aio.server(
            interceptors=[Supervision()],
            options=_options(limits, shares_port=shares_port),
            maximum_concurrent_rpcs=limits.max_concurrent_calls,
        )
        add_SidecarServiceServicer_to_server(servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, self._server)
        reflection.enable_server_reflection(
            (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )

    def listen(self, host: str, port: int, *, tls: TlsFiles | None = None) -> int:
        """Opens a listener and returns its port; port 0 finds a free one.

        Raises:
            PortUnavailable: the port is taken, or may not be used.
            UnusableTlsFiles: the TLS files cannot be served with.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, reloading_credentials(tls))
        except (RuntimeError, OSError) as error:
            raise PortUnavailable(host, port, "it is taken, or this user may not open it") from error

    async def start(self) -> None:
        """Answers from now on."""
        await self._server.start()
        await self._health.set_serving(is_serving=True)

    async def drain(self) -> None:
        """Tells balancers to look elsewhere; goes on answering."""
        await self._health.set_serving(is_serving=False)

    async def stop(self, *, grace_seconds: float) -> None:
        """Takes no new calls, lets those under way end within the grace period; may be called twice."""
        await self.drain()
        await self._server.stop(grace_seconds)


def _options(limits: ServerLimits, *, shares_port: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.http2.min_ping_interval_without_data_ms", SHORTEST_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.so_reuseport", int(shares_port)),  # else a taken port would be shared in silence
    ]
