"""Makes the commands of this package known to Django."""

from django.apps import AppConfig


class GrpcServiceConfig(AppConfig):
    """The wire."""

    name = "grpc_service"
