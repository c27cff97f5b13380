"""Runs a Stigg cloud on the laptop."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from sidecar_project.emulating import DEFAULT_PORT, PORT_VARIABLE, port_of, states_of, taken


class Command(BaseCommand):
    """`manage.py runemulator`."""

    help = "Runs a Stigg cloud on the laptop, for people with no account, until Ctrl-C."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Names where it listens and which key it takes."""
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
        parser.add_argument(
            "--port",
            type=int,
            default=port_of(os.environ.get(PORT_VARIABLE)),
            help=f"port to listen on; 0 chooses one (default: {PORT_VARIABLE}, or {DEFAULT_PORT})",
        )
        parser.add_argument(
            "--customers", type=Path, metavar="FILE", help="who is known, as in an offline file; else a few"
        )
        parser.add_argument(
            "--api-key", default=None, help="the key to accept; left out: one is made and shown"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Runs until interrupted."""
        from emulator.server import serve  # noqa: PLC0415 - its packages are not on a production image

        serving = serve(
            options["host"],
            options["port"],
            options["api_key"],
            states=states_of(options["customers"]),
            announce=self._announce,
        )
        try:
            with suppress(KeyboardInterrupt):
                asyncio.run(serving)
        except OSError as error:
            sys.exit(taken(options["port"], error.strerror))

    def _announce(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
