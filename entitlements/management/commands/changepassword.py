"""Django's own, also before the first start."""

import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword

from entitlements.audit import Change
from entitlements.management import auditing
from entitlements.management.database import prepared


class Command(changepassword.Command):
    """`manage.py changepassword`."""

    requires_migrations_checks = False  # which would look into the database before it is prepared

    def handle(self, *args: Any, **options: Any) -> Any:
        """Makes the tables first, if there are none."""
        prepared()
        done = super().handle(*args, **options)
        auditing.record(Change("user.password", str(options.get("username") or getpass.getuser())))
        return done
