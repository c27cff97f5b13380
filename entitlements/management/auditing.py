"""Has what a command changed stand in the audit trail."""

import getpass
import socket
from collections import deque
from contextlib import suppress

from django.conf import settings
from django.core.management.base import CommandError

from entitlements import audit
from entitlements.audit import Change
from entitlements.clock import SystemClock
from entitlements.management.asking import answers

TOLD_SECONDS = 5.0
"""A sidecar that does not take the line by then does without."""


def record(change: Change) -> None:
    """One change by whoever runs the command.

    Its line is the sidecar's that runs beside it: what a command prints is its answer, and nobody's log.
    """
    fields = audit.fields_of(change, who=command_user(), whence=socket.gethostname(), clock=SystemClock())
    audit.keep(fields, kept_days=settings.SIDECAR.config.sidecar_audit_days)
    with suppress(CommandError):  # none runs here
        deque(answers({"act": "audited", "change": fields}, seconds=TOLD_SECONDS), maxlen=0)


def command_user() -> str:
    """Who runs a command, as the machine knows them."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError):  # a user id without a name
        return "command line"
