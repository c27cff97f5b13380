"""Shows who did what: the audit trail of the admin and the commands."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from entitlements.domain.moments import moment_from_ms
from entitlements.management.database import prepared
from entitlements.management.printing import Printer
from entitlements.models import AuditEntry

SHOWN = 100
_COLUMNS = ("at", "who", "act", "subject", "reason", "whence")


class Command(BaseCommand):
    """`manage.py audit`."""

    help = "Lists changes by people and commands, the newest last: who, when, from where, what, and why."

    def add_arguments(self, parser: CommandParser) -> None:
        """Names the filters."""
        parser.add_argument("--who", help="only by this person")
        parser.add_argument("--act", help="only acts that begin so, such as override or fallback.change")
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
        rows = [_row(each) for each in reversed(entries[: max(options["limit"], 0)])]
        Printer.of(self.stdout, as_json=options["json"]).rows(rows, columns=_COLUMNS, styles={})


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
