"""Shows who did what: the audit trail of the admin and the commands."""

from argparse import ArgumentTypeError
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from entitlements.clock import SystemClock
from entitlements.domain.moments import moment_from_ms
from entitlements.management.database import prepared
from entitlements.management.printing import Printer
from entitlements.models import AuditEntry
from entitlements.overrides.duration import duration_ms

SHOWN = 100
_COLUMNS = ("at", "who", "act", "subject", "reason", "whence")


class Command(BaseCommand):
    """`manage.py audit`."""

    help = "Lists changes by people and commands, the newest last: who, when, from where, what, and why."

    def add_arguments(self, parser: CommandParser) -> None:
        """Names the filters."""
        parser.add_argument("--who", help="only by this person")
        parser.add_argument("--act", help="only acts that begin so, such as override or fallback.change")
        parser.add_argument("--since", type=_moment_ms, help="2d ago, or such as 2026-11-25T10:00 (UTC)")
        parser.add_argument("--until", type=_moment_ms, help="the same; what was later is left out")
        parser.add_argument("--limit", type=int, default=SHOWN, help="the newest so many")
        parser.add_argument("--json", action="store_true", help="print all fields as JSON, for scripts")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Prints them."""
        prepared()
        entries = AuditEntry.objects.order_by("-pk")
        if options["who"]:
            entries = entries.filter(who=options["who"])
        if options["act"]:
            entries = entries.filter(act__startswith=options["act"])
        if options["since"] is not None:
            entries = entries.filter(at_ms__gte=options["since"])
        if options["until"] is not None:
            entries = entries.filter(at_ms__lte=options["until"])
        rows = [_row(each) for each in reversed(entries[: max(options["limit"], 0)])]
        Printer.of(self.stdout, as_json=options["json"]).rows(rows, columns=_COLUMNS, styles={})


def _moment_ms(text: str) -> int:
    """A moment as people write it: so long ago, or a date with or without its time (UTC)."""
    with suppress(ValueError):
        return SystemClock().now_ms() - duration_ms(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} must be a time ago such as 2d, or a date such as 2026-11-25 or 2026-11-25T10:00"
        raise ArgumentTypeError(message) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _row(entry: AuditEntry) -> dict[str, object]:
    return {
        "at": moment_from_ms(entry.at_ms).isoformat(timespec="seconds"),
        "who": entry.who,
        "whence": entry.whence,
        "act": entry.act,
        "subject": entry.subject,
        "before": entry.before,
        "after": entry.after,
        "reason": entry.reason,
    }
