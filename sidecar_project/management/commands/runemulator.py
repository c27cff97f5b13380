"""Runs a Stigg cloud on the laptop."""

import asyncio
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

DEFAULT_PORT = 4300


class Command(BaseCommand):
    """`manage.py runemulator`."""

    help = "Runs a Stigg cloud on the laptop, for people with no account, until Ctrl-C."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Names where it listens and which key it takes."""
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
        parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port to listen on; 0 chooses one")
        parser.add_argument(
            "--api-key", default=None, help="the key to accept; left out: one is made and shown"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Runs until interrupted."""
        from emulator.server import serve  # noqa: PLC0415 - its packages are not on a production image

        with suppress(KeyboardInterrupt):
            asyncio.run(serve(options["host"], options["port"], options["api_key"], announce=self._announce))

    def _announce(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
