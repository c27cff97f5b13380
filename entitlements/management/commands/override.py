"""Grants or denies one feature of a customer whatever the cloud says, for a bounded time."""

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from entitlements.audit import Change
from entitlements.clock import SystemClock
from entitlements.domain.entity import EntityKey
from entitlements.domain.moments import moment_from_ms
from entitlements.domain.override import Override, subject_of, terms_of
from entitlements.management import auditing
from entitlements.management.database import prepared
from entitlements.management.printing import EXIT_NO, EXIT_NOT_ASKED, Printer
from entitlements.management.question import finite
from entitlements.models import EntitlementOverride
from entitlements.overrides import ledger
from entitlements.overrides.duration import duration_ms
from entitlements.service.figures import duration_from_ms

OFF = "overrides are off: set SIDECAR_OVERRIDES=1, in the environment of the sidecar as well"
SHOWN = 100
_COLUMNS = ("state", "id", "verdict", "customer", "resource", "subject", "terms", "left", "author", "reason")
_STYLES = {"in force": "yellow", "ended": "dim"}


class Command(BaseCommand):
    """`manage.py override grant|deny|list|end`."""

    help = (
        "Grants or denies one feature of a customer instead of the cloud, for a bounded time; lists and ends "
        f"that. Exits with 0 when it was done, {EXIT_NO} when there was nothing to end, {EXIT_NOT_ASKED} "
        "when it could not be done."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Names the acts."""
        acts = parser.add_subparsers(dest="act", required=True)
        grant = acts.add_parser("grant", help="grant it, whatever the cloud says")
        deny = acts.add_parser("deny", help="deny it, whatever the cloud says")
        for each in (grant, deny):
            each.add_argument("customer", help="the customer's id")
            each.add_argument("feature", help="the feature's id; with --currency, the currency's")
            each.add_argument("--currency", action="store_true", help="it is about a balance of credits")
            each.add_argument("--resource", help="the id of one of the customer's resources")
            each.add_argument("--for", dest="lasts", default="1h", help="30m, 1h (default), 2d; 7d at most")
            each.add_argument("--reason", required=True, help="for whoever asks tomorrow")
        grant.add_argument("--limit", type=finite, help="up to this usage or balance; left out: no limit")
        grant.add_argument("--value", type=int, help="the number of a numeric feature")
        grant.add_argument("--values", action="append", help="a value that is granted; may be repeated")
        end = acts.add_parser("end", help="have the cloud's answer hold again")
        end.add_argument("id", help="as `list` shows it")
        listed = acts.add_parser("list", help="what is in force, and what was")
        for each in (grant, deny, end, listed):
            each.add_argument("--json", action="store_true", help="print JSON, for scripts")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Does it, and exits with the outcome."""
        if not settings.SIDECAR.config.sidecar_overrides:
            raise CommandError(OFF, returncode=EXIT_NOT_ASKED)
        prepared()
        self._now_ms = SystemClock().now_ms()
        printer = Printer.of(self.stdout, as_json=options["json"])
        match options["act"]:
            case "list":
                rows = [_row(each, self._now_ms) for each in ledger.history(limit=SHOWN)]
                printer.rows(rows, columns=_COLUMNS, styles=_STYLES)
            case "end":
                if ledger.end(options["id"], by=auditing.command_user(), now_ms=self._now_ms) is None:
                    self.stderr.write("no override of that id is in force")
                    sys.exit(EXIT_NO)
                auditing.record(Change("override.end", options["id"]))
                printer.values({"ended": options["id"]})
            case _:
                self._begin(printer, options)

    def _begin(self, printer: Printer, options: dict[str, Any]) -> None:
        try:
            override = _override(options, now_ms=self._now_ms)
            ledger.begin(override)
            auditing.record(
                Change(
                    f"override.{options['act']}",
                    subject_of(override),
                    after=terms_of(override),
                    reason=override.reason,
                )
            )
        except (ValueError, ledger.Refused) as error:
            raise CommandError(str(error), returncode=EXIT_NOT_ASKED) from error
        printer.values({"began": override.id, "ends_at": _moment(override.ends_ms)})


def _override(options: dict[str, Any], *, now_ms: int) -> Override:
    values = options.get("values")
    return Override(
        id=ledger.new_id(),
        key=EntityKey(options["customer"], options["resource"]),
        feature_id="" if options["currency"] else options["feature"],
        currency_id=options["feature"] if options["currency"] else None,
        has_access=options["act"] == "grant",
        usage_limit=options.get("limit"),
        value=options.get("value"),
        enum_values=None if values is None else tuple(values),
        reason=options["reason"],
        author=auditing.command_user(),
        begins_ms=now_ms,
        ends_ms=now_ms + duration_ms(options["lasts"]),
    )


def _moment(ms: int) -> str:
    return moment_from_ms(ms).isoformat(timespec="seconds")


def _row(row: EntitlementOverride, now_ms: int) -> dict[str, object]:
    over_ms = row.ends_ms if row.ended_ms is None else min(row.ended_ms, row.ends_ms)
    is_over = over_ms <= now_ms
    return {
        "state": "ended" if is_over else "in force",
        "id": row.id,
        "verdict": "grant" if row.has_access else "deny",
        "customer": row.customer_id,
        "resource": row.resource_id or "-",
        "subject": row.feature_id or f"{row.currency_id} (credits)",
        "terms": row.terms or "-",
        "left": "-" if is_over else duration_from_ms(over_ms - now_ms),
        "author": row.author,
        "reason": row.reason,
        "began_at": _moment(row.begins_ms),
        "ends_at": _moment(over_ms),
        "ended_by": row.ended_by or None,
    }
