"""Has what a command changed stand in the audit trail."""

import getpass
import socket

from django.conf import settings

from entitlements import audit
from entitlements.audit import Change
from entitlements.clock import SystemClock


def record(change: Change) -> None:
    """One change by whoever runs the command."""
    audit.record(
        change,
        who=command_user(),
        whence=socket.gethostname(),
        clock=SystemClock(),
        kept_days=settings.SIDECAR.config.sidecar_audit_days,
        is_logged=False,
    )


def command_user() -> str:
    """Who runs a command, as the machine knows them."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError):  # a user id without a name
        return "command line"
