"""Django's own, also before the first start."""

from typing import Any

from django.contrib.auth.management.commands import createsuperuser

from entitlements.audit import Change
from entitlements.management import auditing
from entitlements.management.database import prepared


class Command(createsuperuser.Command):
    """`manage.py createsuperuser`."""

    requires_migrations_checks = False  # which would look into the database before it is prepared

    def handle(self, *args: Any, **options: Any) -> Any:
        """Makes the tables first, if there are none."""
        prepared()
        done = super().handle(*args, **options)
        auditing.record(Change("user.add", str(options.get("username") or "")))
        return done
