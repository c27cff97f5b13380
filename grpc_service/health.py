"""Readiness as grpc.health.v1, for the server as a whole and for the sidecar's service."""

from grpc_health.v1 import health, health_pb2

from grpc_service.generated import sidecar_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["SidecarService"].full_name
_SERVED = ("", SERVICE)


class GrpcHealth:
    """Mirrors readiness."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()

    async def set_serving(self, *, is_serving: bool) -> None:
        """Tells whoever checks or watches."""
        status = (
            health_pb2.HealthCheckResponse.SERVING
            if is_serving
            else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for service in _SERVED:
            await self.servicer.set(service, status)
