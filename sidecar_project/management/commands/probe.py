"""A probe's question; `manage.py` answers it without this, and quicker."""

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from sidecar_project import probe


class Command(BaseCommand):
    """`manage.py probe live|ready`."""

    help = (
        "Asks the sidecar on this machine for its health. "
        f"Exits with {probe.UP} when it is up, {probe.NOT_UP} when not, {probe.NOT_ASKED} when not asked."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Names the two questions."""
        parser.add_argument("question", choices=["live", "ready"], help="which of the two to ask")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Asks, and exits with the answer."""
        sys.exit(probe.main([options["question"]], os.environ, out=sys.stdout))
