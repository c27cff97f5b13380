"""Shows what waits for the cloud and what the cloud refused; replays or discards the latter."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from entitlements.composition import OutboxParts, sidecar
from entitlements.domain.errors import OutboxUnavailable
from entitlements.domain.outbox import OutboxEntry
from entitlements.domain.usage import UsageEvent
from entitlements.management.printing import EXIT_NO, EXIT_NOT_ASKED, Printer

_COLUMNS = ("state", "id", "accepted_at", "kind", "customer", "resource", "name", "idempotency_key", "reason")
_STYLES = {"waiting": "yellow", "dead": "bold red"}
SHOWN = 100
"""How many of each unless told otherwise."""


class Command(BaseCommand):
    """`manage.py outbox`."""

    help = (
        "Lists the writes that wait for the cloud and those that it refused (dead); "
        "replays or discards refused ones."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Names what to do, and to which."""
        parser.add_argument("act", choices=("list", "replay", "discard"))
        parser.add_argument("ids", nargs="*", metavar="ID", help="dead letters to replay or discard")
        parser.add_argument("--all", action="store_true", help="replay or discard every dead letter")
        parser.add_argument("--limit", type=int, default=SHOWN, help="list so many of each at most")
        parser.add_argument("--json", action="store_true", help="print JSON, for scripts")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Acts and prints; exits with 1 when there was nothing to act on, 2 when nobody could be asked."""
        if options["act"] != "list" and bool(options["ids"]) == options["all"]:
            self.stderr.write(f"outbox {options['act']}: name dead letters by their ID, or say --all")
            sys.exit(EXIT_NOT_ASKED)
        built = sidecar()
        if built.outbox is None:
            self.stderr.write("there is no outbox: SIDECAR_OUTBOX is off, or OFFLINE is set")
            sys.exit(EXIT_NOT_ASKED)
        printer = Printer.of(self.stdout, as_json=options["json"])
        try:
            asyncio.run(_acted(built.outbox, printer, options))
        except OutboxUnavailable:
            self.stderr.write("the outbox cannot be reached: see `manage.py doctor`")
            sys.exit(EXIT_NOT_ASKED)
        finally:
            if built.redis is not None:
                built.redis.connection.stop()


async def _acted(outbox: OutboxParts, printer: Printer, options: dict[str, Any]) -> None:
    dispatcher = outbox.dispatcher
    ids = None if options["all"] else options["ids"]
    try:
        match options["act"]:
            case "replay":
                _print_count(printer, "replayed", await dispatcher.replay(ids))
            case "discard":
                _print_count(printer, "discarded", await dispatcher.discard(ids))
            case _:
                await _list(outbox, printer, options["limit"])
    finally:
        await outbox.close()


async def _list(outbox: OutboxParts, printer: Printer, limit: int) -> None:
    waiting = await outbox.dispatcher.waiting(limit)
    dead = await outbox.dispatcher.dead_letters(limit)
    rows = [_row(entry, "waiting", "") for entry in waiting]
    rows += [_row(letter.entry, "dead", letter.reason) for letter in dead]
    printer.rows(rows, columns=_COLUMNS, styles=_STYLES)


def _row(entry: OutboxEntry, state: str, reason: str) -> dict[str, object]:
    write = entry.write
    is_event = isinstance(write, UsageEvent)
    return {
        "state": state,
        "id": entry.id,
        "accepted_at": datetime.fromtimestamp(entry.accepted_at_ms / 1000, UTC).isoformat(),
        "kind": "event" if is_event else "usage",
        "customer": write.key.customer_id,
        "resource": write.key.resource_id or "-",
        "name": write.event_name if isinstance(write, UsageEvent) else write.feature_id,
        "idempotency_key": write.idempotency_key,
        "reason": reason,
    }


def _print_count(printer: Printer, name: str, count: int) -> None:
    printer.values({name: count})
    if count == 0:
        sys.exit(EXIT_NO)
