"""Why a running sidecar grants or denies: every rule in order, the fallback, the cloud's view."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from entitlements.management.asking import Line, answers
from entitlements.management.printing import EXIT_NO, EXIT_NOT_ASKED, Printer
from entitlements.management.question import add_question, query_from_options
from entitlements.service.question import DENY, GRANT, TYPED_KINDS, document_from_query

SHOWN_CHANGES = 5
"""As JSON all that are known."""


class Command(BaseCommand):
    """`manage.py explain CUSTOMER FEATURE`."""

    help = (
        "Has the sidecar that runs with this SIDECAR_DATA_DIR decide as it does over gRPC, and explain it. "
        f"Exits with 0 when granted, {EXIT_NO} when denied, {EXIT_NOT_ASKED} when it could not be asked."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Names the parts of the question."""
        add_question(parser)
        parser.add_argument("--kind", choices=TYPED_KINDS, help="as the typed method of this kind decides")
        parser.add_argument("--fallback", choices=(GRANT, DENY), help="as if the call brought this fallback")
        parser.add_argument("--compare", action="store_true", help="show the cloud's current state as well")
        parser.add_argument("--json", action="store_true", help="print all as JSON, for scripts")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Asks, prints, and exits with the answer."""
        asked = {"act": "explain", "compares": options["compare"]}
        explained = next(answers(asked | document_from_query(query_from_options(options))), None)
        if explained is None:
            message = "the sidecar did not understand the question; is it of the same version?"
            raise CommandError(message, returncode=EXIT_NOT_ASKED)
        Printer.of(self.stdout, as_json=options["json"]).verdict(
            explained["headline"],
            _details(explained),
            style="bold green" if explained["has_access"] else "bold red",
            document=explained,
        )
        if not explained["has_access"]:
            sys.exit(EXIT_NO)


def _details(explained: Line) -> list[str]:
    lines = [
        f"{number}. {step['rule']}, {step['verdict']}: {step['text']}"
        for number, step in enumerate(explained["steps"], start=1)
    ]
    held_by = f"process {explained['process']}"
    if explained["shares_redis"]:
        held_by += ", before the Redis that all share"
    lines += [
        f"reason: {explained['reason'] or 'none'}",
        f"from: {explained['source_text']}",
        f"memory of: {held_by}",
        f"fallback: {explained['fallback']['text']}",
    ]
    lines += [f"{each['method']}: {each['text']}" for each in explained["methods"]]
    return lines + _compared(explained["comparison"]) + _changed(explained["history"])


def _changed(history: list[Line]) -> list[str]:
    """The last changes of the customer or resource, the newest first."""
    lines = []
    for entry in history[:SHOWN_CHANGES]:
        times = f" ({entry['times']} times since {entry['since']})" if entry["since"] else ""
        lines += [
            f"  {entry['when']}{times}, {change['what']}: {_or_none(change['before'])} -> "
            f"{_or_none(change['after'])}; {entry['text']}"
            for change in entry["changes"]
        ]
    return ["changes:", *lines] if lines else []


def _or_none(text: str | None) -> str:
    return "none" if text is None else text


def _compared(comparison: Line | None) -> list[str]:
    if comparison is None:
        return []
    differences = [
        f"  {each['name']}: here {each['here']}, in the cloud {each['cloud']}"
        for each in comparison["differences"]
    ]
    return [f"cloud: {comparison['headline']}", *differences]
