"""The database as commands need it: brought up to date, whether or not a sidecar ever ran with it."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection

MIGRATIONS_LOCK = 0x5719_51DE
"""Of PostgreSQL's advisory locks; any number that others of this database do not use."""
LOCK_SECONDS = 30


def migrate() -> None:
    """Brings the database up to date.

    Raises:
        DatabaseError: it cannot be used.
    """
    with _alone():
        call_command("migrate", interactive=False, verbosity=0)


def prepared() -> None:
    """The same for a command of a person.

    Raises:
        CommandError: it cannot be used; one sentence.
    """
    try:
        migrate()
    except (DatabaseError, ImproperlyConfigured) as error:
        message = (
            f"the database cannot be used ({type(error).__name__}); see DATABASE_URL, or whether this user "
            "must be able to write to SIDECAR_DATA_DIR"
        )
        from entitlements.management.printing import EXIT_NOT_ASKED  # noqa: PLC0415 - no server needs rich

        raise CommandError(message, returncode=EXIT_NOT_ASKED) from error


@contextmanager
def _alone() -> Iterator[None]:
    """While entered, no other replica makes the same tables: whoever comes second finds them made.

    The lock is a transaction's, and ends with it: a pooler between may give each transaction another session.
    """
    if connection.vendor != "postgresql":  # of SQLite there is one process
        yield
        return
    guard = connection.copy()
    try:
        guard.set_autocommit(False)
        with guard.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATIONS_LOCK])
        yield
    finally:
        guard.close()
