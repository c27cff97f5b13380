"""What a running sidecar holds: looked at, forgotten, written to a file and read from one."""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import track

from entitlements.audit import Change
from entitlements.clock import SystemClock
from entitlements.domain.entity import EntityKey
from entitlements.management import auditing
from entitlements.management.asking import Line, answers
from entitlements.management.printing import EXIT_NO, EXIT_NOT_ASKED, Printer
from entitlements.upstream.offline_document import InvalidOfflineFile, read_offline_file
from entitlements.upstream.state_documents import state_from_entity


class Command(BaseCommand):
    """`manage.py cache stats|get|evict|export|import`."""

    help = (
        "Asks the sidecar that runs with this SIDECAR_DATA_DIR about what it holds, in memory and in Redis. "
        "Exits with 0 when it was done, 1 when nothing was found, 2 when it could not be asked."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Names the acts."""
        acts = parser.add_subparsers(dest="act", required=True)
        for act, text in (
            ("stats", "how much is held"),
            ("get", "what is held of a customer or resource"),
            ("evict", "forget a customer with its resources, or one resource; in Redis as well"),
        ):
            each = acts.add_parser(act, help=text)
            if act != "stats":
                each.add_argument("customer", help="the customer's id")
                each.add_argument("--resource", help="the id of one of the customer's resources")
            each.add_argument("--json", action="store_true", help="print JSON, for scripts")
        export = acts.add_parser("export", help="write all that is held as a file for SIDECAR_OFFLINE_FILE")
        export.add_argument("file", nargs="?", type=Path, help="left out: standard output")
        import_ = acts.add_parser("import", help="have the sidecar hold what such a file says, unconfirmed")
        import_.add_argument("file", type=Path, help="JSON or YAML")
        import_.add_argument("--json", action="store_true", help="print JSON, for scripts")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Does it, and exits with the outcome."""
        self._printer = Printer.of(self.stdout, as_json=options.get("json", False))
        match options["act"]:
            case "export":
                self._export(options["file"])
            case "import":
                self._import(options["file"])
            case act:
                self._ask(act, options)

    def _ask(self, act: str, options: dict[str, Any]) -> None:
        key = {"customer_id": options.get("customer"), "resource_id": options.get("resource")}
        (answer,) = answers({"act": act} | key)
        if act == "evict":
            auditing.record(Change("cache.evict", " / ".join(filter(None, key.values())), after=answer))
        self._printer.values(answer)
        if answer.get("found") is False or answer.get("evicted") == 0:
            sys.exit(EXIT_NO)

    def _export(self, file: Path | None) -> None:
        lines = answers({"act": "export"})
        total = next(lines)["total"]
        customers: dict[str, Any] = {}
        for line in _with_progress(lines, total=total, text="exporting"):
            customer = customers.setdefault(line["customer_id"], {})
            if line["resource_id"] is None:
                customer |= line["state"]
            else:
                customer.setdefault("resources", {})[line["resource_id"]] = line["state"]
        text = json.dumps({"customers": customers}, indent=1)
        if file is None:
            self.stdout.write(text)
            return
        try:
            _write_privately(file, text)
        except OSError as error:
            message = f"{file} cannot be written ({error.strerror})"
            raise CommandError(message, returncode=EXIT_NOT_ASKED) from error
        self._printer.values({"exported": total, "file": str(file)})

    def _import(self, file: Path) -> None:
        try:
            states = read_offline_file(file, now_ms=SystemClock().now_ms())
        except InvalidOfflineFile as error:
            raise CommandError(str(error), returncode=EXIT_NOT_ASKED) from error
        lines = (
            _line(key, state_from_entity(entity))
            for key, entity in _with_progress(states.items(), total=len(states), text="importing")
        )
        (answer,) = answers({"act": "import"}, lines)
        auditing.record(Change("cache.import", str(file), after=answer))
        self._printer.values(answer)


def _line(key: EntityKey, state: Line) -> Line:
    return {**key._asdict(), "state": state}


def _with_progress(items: Iterable[Any], *, total: int, text: str) -> Iterable[Any]:
    """The same items, with a bar, a rate and the time left where a person looks on."""
    console = Console(stderr=True)
    return track(items, description=text, total=total, console=console, disable=not console.is_terminal)


def _write_privately(file: Path, text: str) -> None:
    """Whole or not at all; what customers are entitled to is not everybody's."""
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(file)
