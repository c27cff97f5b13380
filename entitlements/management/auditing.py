"""Has what a command changed stand in the audit trail."""

import getpass
import socket
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from entitlements import audit
from entitlements.clock import SystemClock


def record(act: str, subject: str, *, after: Mapping[str, Any] | None = None, reason: str = "") -> None:
    """One change by whoever runs the command."""
    audit.record(
        act,
        subject,
        who=command_user(),
        whence=socket.gethostname(),
        clock=SystemClock(),
        kept_days=settings.SIDECAR.config.sidecar_audit_days,
        is_logged=False,
        after=after,
        reason=reason,
    )


def command_user() -> str:
    """Who runs a command, as the machine knows them."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError):  # a user id without a name
        return "command line"
