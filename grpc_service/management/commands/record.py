"""Writes down what a running sidecar is asked, for a while."""

import base64
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from entitlements.management.asking import answers
from entitlements.management.printing import EXIT_NO, EXIT_NOT_ASKED, Printer
from entitlements.management.question import finite
from entitlements.service.recorder import MAX_SECONDS
from grpc_service.management.pacing import bar
from grpc_service.management.recording import CLEAR, HASHED, Writer, written_privately

DEFAULT_SECONDS = 60.0
DEFAULT_MAX = 100_000


class Command(BaseCommand):
    """`manage.py record FILE`."""

    help = (
        "Has the sidecar that runs with this SIDECAR_DATA_DIR say what it is asked, and writes it to a file "
        "for `replay`: reads alone, at most 1,000 a second. Exits with 0 when something was recorded, "
        f"{EXIT_NO} when nothing was asked, {EXIT_NOT_ASKED} when it could not be recorded."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Names the file and the bounds."""
        parser.add_argument("file", type=Path, help="is written whole or not at all, for its owner alone")
        parser.add_argument(
            "--seconds", type=finite, default=DEFAULT_SECONDS, help=f"so long (default: {DEFAULT_SECONDS:g})"
        )
        parser.add_argument(
            "--max",
            type=int,
            default=DEFAULT_MAX,
            help=f"no more reads than these (default: {DEFAULT_MAX:,})",
        )
        parser.add_argument(
            "--ids",
            choices=(HASHED, CLEAR),
            default=HASHED,
            help="hashed: the same load about strangers, without replies; clear: customers as they are, and "
            "what they were answered",
        )
        parser.add_argument("--json", action="store_true", help="print the outcome as JSON, for scripts")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Records, and prints how much."""
        if not 0 < options["seconds"] <= MAX_SECONDS:
            message = f"--seconds must be a number above 0, and {MAX_SECONDS:g} at most"
            raise CommandError(message, returncode=EXIT_NOT_ASKED)
        if options["max"] < 1:
            raise CommandError("--max must be 1 or more", returncode=EXIT_NOT_ASKED)
        try:
            recorded, dropped = _recorded(options)
        except OSError as error:
            message = f"{options['file']} cannot be written ({error.strerror})"
            raise CommandError(message, returncode=EXIT_NOT_ASKED) from error
        values = {
            "recorded": recorded,
            "dropped": dropped,
            "ids": options["ids"],
            "file": str(options["file"]),
        }
        Printer.of(self.stdout, as_json=options["json"]).values(values)
        if not recorded:
            sys.exit(EXIT_NO)


def _recorded(options: dict[str, Any]) -> tuple[int, int]:
    """How many reads were written, and how many were not taken."""
    number = dropped = 0
    with written_privately(options["file"]) as write, bar() as shown:
        writer = Writer(write, is_clear=options["ids"] == CLEAR)
        task = shown.add_task("recording", total=options["max"])
        for line in answers({"act": "record", "seconds": options["seconds"]}):
            if "problem" in line:
                raise CommandError(line["problem"], returncode=EXIT_NOT_ASKED)
            dropped = line.get("dropped", dropped)
            if "method" in line:
                request, reply = (base64.b64decode(line[name]) for name in ("request", "reply"))
                writer.add(line["at_ms"], line["method"], request, reply)
                number += 1
                shown.advance(task)
                if number >= options["max"]:
                    break
    return number, dropped
