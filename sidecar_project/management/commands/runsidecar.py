"""Runs the sidecar."""

import logging
import os
import sys
from argparse import SUPPRESS
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, connection

from entitlements import metrics
from entitlements.clock import SystemClock
from entitlements.config import LoadedConfig, SidecarConfig
from entitlements.management.database import migrate
from entitlements.upstream.offline_document import InvalidOfflineFile, read_offline_file
from sidecar_project.data_folder import make_private

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    """`manage.py runsidecar`."""

    help = "Answers entitlement checks over gRPC until SIGTERM or Ctrl-C; then drains and exits with 0."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Names the two other ways to run it."""
        ways = parser.add_mutually_exclusive_group()
        ways.add_argument(
            "--check-config",
            action="store_true",
            help="print what is in force and where each value came from, and exit",
        )
        ways.add_argument(
            "--demo",
            action="store_true",
            help="run a Stigg emulator and the sidecar together: no account, no key, no Redis",
        )
        ways.add_argument(
            "--demo-fleet",
            action="store_true",
            help="the same with three sidecars and a Redis Cluster of three primaries",
        )
        parser.add_argument(
            "--customers",
            type=Path,
            metavar="FILE",
            help="with a demo: who the emulator knows, as in an offline file",
        )
        parser.add_argument(
            "--workers",
            type=int,
            metavar="N",
            help="processes on the same ports (default: SIDECAR_WORKERS); more than one needs Redis",
        )
        parser.add_argument("--worker-http-fd", type=int, action="append", default=[], help=SUPPRESS)
        parser.add_argument("--worker-restarted", action="store_true", help=SUPPRESS)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Runs, or prints in one line each what keeps it from running, and exits with 1."""
        if options["demo"] or options["demo_fleet"]:
            sys.exit(_demo(options["customers"], is_fleet=options["demo_fleet"]))
        loaded: LoadedConfig = settings.SIDECAR
        problems: tuple[str, ...] = settings.SIDECAR_PROBLEMS
        if problems:
            sys.exit("\n".join(problems))
        if options["check_config"]:
            self._print_config(loaded)
            _try_offline_file(loaded.config)
            return
        if not options["worker_http_fd"]:
            make_private(settings.DATA_DIR)
            _prepare_database(loaded)
        workers = options["workers"] or loaded.config.sidecar_workers
        if not options["worker_http_fd"] and workers > 1:
            self._supervise(loaded, workers)
        if options["worker_restarted"]:
            metrics.WORKER_RESTARTS.inc()
        self._serve(loaded, options["worker_http_fd"])

    def _print_config(self, loaded: LoadedConfig) -> None:
        for row in loaded.describe():
            self.stdout.write(f"{row.name:34} {row.value or '-':40} {row.origin.value:12} {row.description}")
        for warning in loaded.warnings:
            self.stdout.write(f"warning: {warning}")

    def _supervise(self, loaded: LoadedConfig, workers: int) -> NoReturn:
        from grpc_service.server import PortUnavailable  # noqa: PLC0415 - only several workers need a parent
        from grpc_service.tls import UnusableTlsFiles  # noqa: PLC0415
        from sidecar_project.workers import MAX_WORKERS, supervise  # noqa: PLC0415

        if workers > MAX_WORKERS:
            sys.exit(f"--workers {workers} is too many: {MAX_WORKERS} at most")
        if loaded.config.redis_environment_prefix is None:
            sys.exit(
                f"--workers {workers} needs Redis (REDIS_ENVIRONMENT_PREFIX): without it each process would "
                "follow the feed and know of reports for itself alone"
            )
        _log_oddities(loaded)
        try:
            sys.exit(supervise(loaded.config, count=workers, data_dir=settings.DATA_DIR))
        except (PortUnavailable, UnusableTlsFiles) as error:
            sys.exit(str(error))

    def _serve(self, loaded: LoadedConfig, worker_http_fds: Sequence[int]) -> None:
        from entitlements.composition import sidecar  # noqa: PLC0415 - after the configuration is known to be usable
        from grpc_service.server import PortUnavailable  # noqa: PLC0415
        from grpc_service.tls import UnusableTlsFiles  # noqa: PLC0415
        from sidecar_project.serving import serve  # noqa: PLC0415
        from sidecar_project.worker_metrics import FOLDER_VARIABLE  # noqa: PLC0415

        try:
            if not worker_http_fds:
                _log_oddities(loaded)
            elif FOLDER_VARIABLE not in os.environ:
                logger.error("there is no room on the disk for this worker's metrics; they are not added up")
            serve(sidecar(), loaded.config, worker_http_fds=worker_http_fds)
        except InvalidOfflineFile as error:
            sys.exit(_of_offline_file(error))
        except (PortUnavailable, UnusableTlsFiles) as error:
            sys.exit(str(error))


def _try_offline_file(config: SidecarConfig) -> None:
    if config.sidecar_offline_file is None:
        return
    try:
        read_offline_file(config.sidecar_offline_file, now_ms=SystemClock().now_ms())
    except InvalidOfflineFile as error:
        sys.exit(_of_offline_file(error))


def _of_offline_file(error: InvalidOfflineFile) -> str:
    return "\n".join(f"SIDECAR_OFFLINE_FILE: {problem}" for problem in error.problems)


def _demo(customers: Path | None, *, is_fleet: bool) -> int | str:
    try:
        from sidecar_project import demo, demo_fleet  # noqa: PLC0415 - they alone need the emulator's packages
    except ImportError as error:
        return (
            f"--demo needs the emulator and its packages, and {error.name} is not installed here: the image "
            "leaves them out; run `make demo` in a checkout"
        )
    return demo_fleet.run(customers) if is_fleet else demo.run(customers)


def _prepare_database(loaded: LoadedConfig) -> None:
    """Brings the database and who may use the admin up to date.

    Checks are answered without one, so its faults are only logged.
    """
    try:
        migrate()
        if loaded.config.sidecar_admin_enabled:
            from entitlements.admin.access import prepare_access  # noqa: PLC0415 - needs the apps loaded

            prepare_access(loaded.config)
    except (DatabaseError, ImproperlyConfigured) as error:
        logger.error(  # noqa: TRY400 - the cause is logged; a trace back may hold the address
            "the database cannot be used; fallback rules of the database are not in force",
            extra={"cause": type(error).__name__},
        )
    finally:
        connection.close()


def _log_oddities(loaded: LoadedConfig) -> None:
    for warning in loaded.warnings:
        logger.warning(warning)
    if loaded.config.node_options is not None:
        logger.info("NODE_OPTIONS is of the vendor's image and is ignored")
