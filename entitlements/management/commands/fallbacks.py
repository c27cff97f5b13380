"""Carries the fallback rules of the database in and out, in the form of ENTITLEMENTS_FALLBACK."""

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from entitlements.audit import Change
from entitlements.config.fallback_rules import parse_fallback_rules, rule_document
from entitlements.management import auditing
from entitlements.management.database import prepared
from entitlements.management.printing import EXIT_NOT_ASKED, Printer
from entitlements.models import FallbackRule

MAX_AUDITED = 50
"""Number of rules of one import whose values stand in the audit trail."""


class Command(BaseCommand):
    """`manage.py fallbacks export|import`."""

    help = (
        "Prints the fallback rules in force of the database as JSON, or takes such JSON over. "
        f"Exits with 0 when it was done, {EXIT_NOT_ASKED} when the file cannot be used."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Names the two acts."""
        acts = parser.add_subparsers(dest="act", required=True)
        acts.add_parser("export", help="print the active rules, in the form of ENTITLEMENTS_FALLBACK")
        taken = acts.add_parser("import", help="take rules over; each replaces the one of its feature")
        taken.add_argument("--json", action="store_true", help="print the outcome as JSON, for scripts")
        taken.add_argument("file", help="JSON in the form of ENTITLEMENTS_FALLBACK; - for standard input")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Does the one that was asked for."""
        prepared()
        if options["act"] == "export":
            rules = FallbackRule.objects.filter(is_active=True)
            exported = {}
            for rule in rules:
                value = rule.usable_value()
                if value is None:
                    self.stderr.write(f"{rule.feature_id!r} is left out: a field of it cannot be used")
                    continue
                exported[rule.feature_id] = rule_document(value)
            self.stdout.write(json.dumps(exported, indent=2, ensure_ascii=False))
            return
        before = _documents()
        count = _take_over(_text_of(options["file"]))
        was, became = _changed(before, _documents())
        auditing.record(
            Change("fallback.import", options["file"], before=was, after={"taken_over": count, **became})
        )
        Printer.of(self.stdout, as_json=options["json"]).values({"taken_over": count})


def _documents() -> dict[str, object]:
    """All active rules that can be used, as JSON."""
    values = {rule.feature_id: rule.usable_value() for rule in FallbackRule.objects.filter(is_active=True)}
    return {feature_id: rule_document(value) for feature_id, value in values.items() if value is not None}


def _changed(
    before: dict[str, object], after: dict[str, object]
) -> tuple[dict[str, object], dict[str, object]]:
    """What the trail holds of an import: the first rules that it changed, as they were and as they became."""
    changed = [each for each in after if before.get(each) != after[each]][:MAX_AUDITED]
    return {each: json.dumps(before.get(each)) for each in changed}, {
        each: json.dumps(after[each]) for each in changed
    }


def _text_of(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{file} cannot be read"
        raise CommandError(message, returncode=EXIT_NOT_ASKED) from error


def _take_over(text: str) -> int:
    """All of the rules or, where one is wrong, none."""
    try:
        rules = parse_fallback_rules(text)
    except ValueError as error:
        raise CommandError(str(error), returncode=EXIT_NOT_ASKED) from error
    too_long = FallbackRule.too_long(rules)
    if too_long is not None:
        message = f"at {too_long[:40]}…: a feature id in the database must be no longer than 255 characters"
        raise CommandError(message, returncode=EXIT_NOT_ASKED)
    with transaction.atomic():
        for feature_id, value in rules.items():
            FallbackRule.objects.update_or_create(feature_id=feature_id, defaults=FallbackRule.columns(value))
    return len(rules)
