"""Makes the product known to Django."""

from django.apps import AppConfig


class EntitlementsConfig(AppConfig):
    """The product."""

    name = "entitlements"

    def ready(self) -> None:
        """Registers the system checks."""
        from entitlements import checks  # noqa: F401, PLC0415 - registers itself, once the apps are loaded
