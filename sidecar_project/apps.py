"""Makes the commands of this package known to Django."""

from django.apps import AppConfig


class SidecarProjectConfig(AppConfig):
    """The processes."""

    name = "sidecar_project"
