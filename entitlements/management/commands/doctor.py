"""Looks for what keeps a sidecar from working."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

from django.conf import settings
from django.core.cache import caches
from django.core.management.base import BaseCommand, CommandParser

from entitlements.clock import SystemClock
from entitlements.composition import REDIS_CACHE
from entitlements.config import LoadedConfig, SidecarConfig
from entitlements.management.diagnosis.cloud import examine_cloud
from entitlements.management.diagnosis.finding import Finding, Verdict, fault, ok, warning
from entitlements.management.diagnosis.machine import examine_files, examine_ports
from entitlements.management.diagnosis.redis import examine_redis
from entitlements.management.printing import EXIT_NO, Printer
from entitlements.redis.connection import Client

_STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red", "skipped": "dim"}


class Command(BaseCommand):
    """`manage.py doctor`."""

    help = (
        "Examines settings, files, ports, the way to the cloud, the key, the clock, the feed and Redis, "
        "and says what fixes each fault. Exits with 0 when there is none, 1 when there is one."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Names the manner."""
        parser.add_argument("--json", action="store_true", help="print the findings as JSON, for scripts")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Examines, prints, and exits with the verdict."""
        logging.disable(logging.CRITICAL)  # what the parts log is among the findings
        try:
            findings = list(_examine())
        finally:
            logging.disable(logging.NOTSET)
        rows = [
            {"verdict": each.verdict.value, "part": each.part, "told": each.message, "mend": each.fix}
            for each in findings
        ]
        printer = Printer.of(self.stdout, as_json=options["json"])
        printer.rows(rows, columns=("verdict", "part", "told", "mend"), styles=_STYLES)
        if any(finding.verdict is Verdict.FAULT for finding in findings):
            sys.exit(EXIT_NO)


def _examine() -> Iterator[Finding]:
    loaded: LoadedConfig = settings.SIDECAR
    clock = SystemClock()
    yield from _settings(loaded, settings.SIDECAR_PROBLEMS)
    if settings.SIDECAR_PROBLEMS:
        return
    config = loaded.config
    yield from examine_files(config, settings.DATA_DIR, clock=clock)
    yield from examine_ports(config)
    yield from asyncio.run(_cloud(config))
    yield from examine_redis(config, _redis_client(config))


def _settings(loaded: LoadedConfig, problems: tuple[str, ...]) -> Iterator[Finding]:
    for problem in problems:
        yield fault("settings", problem, fix="correct the variable; the rest is examined after that")
    for message in loaded.warnings:
        yield warning("settings", message, fix="correct its name, or remove it")
    if not problems:
        yield ok("settings", "every variable can be used; `runsidecar --check-config` shows them")


async def _cloud(config: SidecarConfig) -> list[Finding]:
    return [finding async for finding in examine_cloud(config, clock=SystemClock())]


def _redis_client(config: SidecarConfig) -> Callable[[], Client] | None:
    if config.redis_environment_prefix is None or config.offline:
        return None
    return lambda: cast("Client", cast("Any", caches[REDIS_CACHE]).client.get_client(write=True))
