"""Has a running sidecar know customers before they are asked for."""

import asyncio
import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import grpc
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from entitlements.background import awaited
from entitlements.domain.entity import EntityKey
from entitlements.management.printing import EXIT_NO, EXIT_NOT_ASKED, Printer
from grpc_service.channels import channel_options
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.generated.sidecar_pb2_grpc import SidecarServiceStub
from grpc_service.management.customers import keys_of, written
from grpc_service.management.pacing import add_rate, bar, paced, rate_of

CALL_SECONDS = 30.0
MAX_CALLS_UNDER_WAY = 32
_NOT_KNOWN = frozenset({"fallback", "offline"})
"""Sources of an answer for a customer that the sidecar still does not know."""


@dataclass(kw_only=True)
class _Tally:
    """How far it is."""

    by_source: Counter[str] = field(default_factory=Counter)
    failed: list[EntityKey] = field(default_factory=list)
    error: grpc.RpcError | None = None
    """A call that was not answered: the sidecar is away."""


class Command(BaseCommand):
    """`manage.py warm [FILE]`."""

    help = (
        "Asks a running sidecar for all entitlements of the customers in a file, at the pace of its "
        "background re-checks, so that it knows them. What it knows already costs the cloud nothing. "
        f"Exits with 0 when all are known, {EXIT_NO} when some are not, {EXIT_NOT_ASKED} when it could "
        "not be asked."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Names the customers and the pace."""
        parser.add_argument(
            "file",
            nargs="?",
            default="-",
            help="one customer's id a line, or that, a tab and a resource's; `-` or left out: standard input",
        )
        add_rate(
            parser,
            default=settings.SIDECAR.config.sidecar_refreshes_per_second,
            meaning="number of customers a second (default: SIDECAR_REFRESHES_PER_SECOND)",
        )
        parser.add_argument(
            "--progress", type=Path, help="note in this file who is done; run again, those are left out"
        )
        parser.add_argument("--address", help="host:port of the sidecar (default: as for `ask`)")
        parser.add_argument("--json", action="store_true", help="print the outcome as JSON, for scripts")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Warms, prints the outcome, and exits with it."""
        rate = rate_of(options)
        address = options["address"] or settings.SIDECAR_ASK_ADDRESS
        try:
            keys = list(keys_of(options["file"]))
            done = _done(options["progress"])
            left = [key for key in keys if key not in done]
            tally = asyncio.run(_warm(address, left, rate=rate, progress_file=options["progress"]))
        except OSError as error:
            message = f"{error.filename} cannot be used ({error.strerror})"
            raise CommandError(message, returncode=EXIT_NOT_ASKED) from error
        except grpc.RpcError as error:
            message = f"no sidecar answers at {address}; what was done is in the file of --progress"
            raise CommandError(message, returncode=EXIT_NOT_ASKED) from error
        self._report(tally, left_out=len(keys) - len(left), as_json=options["json"])

    def _report(self, tally: _Tally, *, left_out: int, as_json: bool) -> None:
        printer = Printer.of(self.stdout, as_json=as_json)
        warmed = tally.by_source.total()
        values: dict[str, object] = {"warmed": warmed, "left_out": left_out, "failed": len(tally.failed)}
        printer.values(
            values | {f"from_{source}": count for source, count in sorted(tally.by_source.items())}
        )
        for key in tally.failed:
            self.stderr.write(f"not known: {written(key)}")
        if tally.failed:
            sys.exit(EXIT_NO)


async def _warm(address: str, keys: list[EntityKey], *, rate: float, progress_file: Path | None) -> _Tally:
    tally = _Tally()
    with (
        progress_file.open("a") if progress_file else nullcontext() as notes,
        bar() as shown,
    ):
        bar_task = shown.add_task("warming", total=len(keys))
        async with grpc.aio.insecure_channel(address, options=channel_options(address)) as channel:
            stub = SidecarServiceStub(channel)
            slots = asyncio.Semaphore(MAX_CALLS_UNDER_WAY)

            async def warm(key: EntityKey) -> None:
                try:
                    _note(tally, key, await _source(stub, key), notes)
                except grpc.RpcError as error:
                    tally.error = error
                finally:
                    slots.release()
                    shown.advance(bar_task)

            calls = []
            async for key in paced(keys, rate=rate):
                await slots.acquire()
                if tally.error is not None:
                    break
                calls.append(awaited(warm(key), name="warm"))
            await asyncio.gather(*calls)
    if tally.error is not None:
        raise tally.error
    return tally


async def _source(stub: Any, key: EntityKey) -> str:
    """Where the sidecar knows the customer from."""
    request = pb.GetEntitlementsRequest(customer_id=key.customer_id, resource_id=key.resource_id)
    call = stub.GetEntitlements(request, timeout=CALL_SECONDS)
    await call
    trailing = dict(await call.trailing_metadata() or ())
    return str(trailing.get("stigg-source", "not_told"))


def _note(tally: _Tally, key: EntityKey, source: str, notes: TextIO | None) -> None:
    if source in _NOT_KNOWN:
        tally.failed.append(key)
        return
    tally.by_source[source] += 1
    if notes is not None:
        notes.write(f"{written(key)}\n")
        notes.flush()


def _done(progress_file: Path | None) -> set[EntityKey]:
    if progress_file is None or not progress_file.exists():
        return set()
    return set(keys_of(str(progress_file)))
