"""Shows what waits for the cloud and what the cloud refused; replays the latter, discards either."""

import asyncio
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from entitlements.audit import Change
from entitlements.composition import OutboxParts, sidecar
from entitlements.domain.errors import OutboxUnavailable
from entitlements.domain.moments import moment_from_ms
from entitlements.domain.outbox import OutboxEntry
from entitlements.domain.usage import UsageEvent
from entitlements.management import auditing
from entitlements.management.printing import EXIT_NO, EXIT_NOT_ASKED, Printer

_COLUMNS = ("state", "id", "accepted_at", "kind", "customer", "resource", "name", "idempotency_key", "reason")
_STYLES = {"waiting": "yellow", "dead": "bold red"}
KEPT = (
    "%d not replayed: they waited for seven days, so the cloud may have them, and has forgotten that it has; "
    "look there, then discard them, or replay them with --even-too-old"
)
SHOWN = 100
"""How many of each unless given otherwise."""


class Command(BaseCommand):
    """`manage.py outbox`."""

    help = (
        "Lists the writes that wait for the cloud and those that it refused (dead); "
        "replays refused ones, discards either."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Names what to do, and to which."""
        parser.add_argument("act", choices=("list", "replay", "discard"))
        parser.add_argument("ids", nargs="*", metavar="ID", help="what to replay or discard")
        parser.add_argument("--all", action="store_true", help="replay or discard every dead letter")
        parser.add_argument("--waiting", action="store_true", help="with discard --all: what waits as well")
        parser.add_argument(
            "--even-too-old",
            action="store_true",
            help="replay also what waited for seven days: the cloud may have it, and would count it twice",
        )
        parser.add_argument("--limit", type=int, default=SHOWN, help="list so many of each at most")
        parser.add_argument("--json", action="store_true", help="print JSON, for scripts")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Acts and prints; exits with 1 when there was nothing to act on, 2 when nobody could be asked."""
        if options["act"] != "list" and bool(options["ids"]) == options["all"]:
            self.stderr.write(f"outbox {options['act']}: name what by its ID, or say --all")
            sys.exit(EXIT_NOT_ASKED)
        if options["waiting"] and not (options["act"] == "discard" and options["all"]):
            self.stderr.write("--waiting goes with discard --all: what waits can be named by its ID")
            sys.exit(EXIT_NOT_ASKED)
        built = sidecar()
        if built.outbox is None:
            self.stderr.write("there is no outbox: SIDECAR_OUTBOX is off, or OFFLINE is set")
            sys.exit(EXIT_NOT_ASKED)
        printer = Printer.of(self.stdout, as_json=options["json"])
        try:
            count = asyncio.run(self._acted(built.outbox, printer, options))
        except OutboxUnavailable:
            self.stderr.write("the outbox cannot be reached: see `manage.py doctor`")
            sys.exit(EXIT_NOT_ASKED)
        finally:
            if built.redis is not None:
                built.redis.connection.stop()
        if options["act"] != "list" and count:
            chosen = "all" if options["all"] else ", ".join(options["ids"])
            auditing.record(Change(f"outbox.{options['act']}", chosen, after={"count": count}))
        if count == 0:
            sys.exit(EXIT_NO)

    async def _acted(self, outbox: OutboxParts, printer: Printer, options: dict[str, Any]) -> int | None:
        """How many it acted on; None where it only looked."""
        ids = None if options["all"] else options["ids"]
        try:
            match options["act"]:
                case "replay":
                    replayed = await outbox.store.replay(ids, even_too_old=options["even_too_old"])
                    printer.values({"replayed": replayed.count})
                    if replayed.kept:
                        self.stderr.write(KEPT % replayed.kept)
                    return replayed.count
                case "discard":
                    count = await outbox.store.discard(ids, waiting=options["waiting"])
                    printer.values({"discarded": count})
                    return count
                case _:
                    await _list(outbox, printer, options["limit"])
                    return None
        finally:
            await outbox.close()


async def _list(outbox: OutboxParts, printer: Printer, limit: int) -> None:
    waiting = await outbox.store.waiting(limit)
    dead = await outbox.store.dead_letters(limit)
    rows = [_row(entry, "waiting", "") for entry in waiting]
    rows += [_row(letter.entry, "dead", letter.reason) for letter in dead]
    printer.rows(rows, columns=_COLUMNS, styles=_STYLES)


def _row(entry: OutboxEntry, state: str, reason: str) -> dict[str, object]:
    write = entry.write
    is_event = isinstance(write, UsageEvent)
    return {
        "state": state,
        "id": entry.id,
        "accepted_at": moment_from_ms(entry.accepted_at_ms).isoformat(),
        "kind": "event" if is_event else "usage",
        "customer": write.key.customer_id,
        "resource": write.key.resource_id or "-",
        "name": write.event_name if isinstance(write, UsageEvent) else write.feature_id,
        "idempotency_key": write.idempotency_key,
        "reason": reason,
    }
