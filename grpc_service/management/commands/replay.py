"""Asks a sidecar what was recorded, at a rate, and reports how quickly and how it answers."""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from entitlements.management.printing import EXIT_NO, EXIT_NOT_ASKED, Printer
from grpc_service.client import SidecarClient
from grpc_service.comparison import Outcome, is_fallback
from grpc_service.management.comparing import (
    Ask,
    Comparison,
    Question,
    add_options,
    asks,
    both_answer,
    for_each,
    report,
)
from grpc_service.management.pacing import progress, rate_of
from grpc_service.management.recording import InvalidRecording, Recorded, recorded

PERCENTILES = (50, 90, 99, 99.9)


class Command(BaseCommand):
    """`manage.py replay FILE --with HOST:PORT`."""

    help = (
        "Asks a sidecar what `record` wrote down, at a rate, and reports latency, fallbacks and where the "
        "answers differ from those that were recorded, or from another sidecar's. Exits with 0 when none "
        f"stays different, {EXIT_NO} when one does, {EXIT_NOT_ASKED} when not all was answered."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Names the file, whom to ask and how often."""
        parser.add_argument("file", type=Path, help="of `record`")
        parser.add_argument(
            "--with", dest="other", required=True, help="host:port of the sidecar that is asked"
        )
        parser.add_argument(
            "--address",
            help="host:port of another that is asked the same beside it; left out: answers are compared with "
            "those of the recording, which has them unless its ids are hashed",
        )
        add_options(parser, rate="number of reads a second, however they were asked")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Replays, prints the outcome, and exits with it."""
        sys.exit(asyncio.run(self.run(options)))

    async def run(self, options: dict[str, Any]) -> int:
        """The same, and returns the exit code."""
        options["rate"] = rate_of(options)
        reads = _reads(options["file"])
        began = time.perf_counter()
        async with SidecarClient(options["other"]) as theirs:
            if options["address"] is None:
                comparison, values = await self._replayed(reads, _as_recorded(reads), asks(theirs), options)
            else:
                async with SidecarClient(options["address"]) as ours:
                    comparison, values = await self._replayed(reads, asks(ours), asks(theirs), options)
        return report(
            comparison,
            values | {"seconds": round(time.perf_counter() - began, 1)},
            printer=Printer.of(self.stdout, as_json=options["json"]),
            as_json=options["json"],
        )

    async def _replayed(
        self, reads: Sequence[Recorded], ours: Ask, theirs: Ask, options: dict[str, Any]
    ) -> tuple[Comparison, dict[str, object]]:
        rate = options["rate"]
        questions = [Question(each.method, each.request, each.customer, each.resource) for each in reads]
        addresses = {options["other"]: theirs} | ({options["address"]: ours} if options["address"] else {})
        await both_answer(addresses, questions[0])
        compares = options["address"] is not None or all(each.reply is not None for each in reads)
        seconds: list[float] = []
        fallbacks = 0

        async def measured(question: Question) -> Outcome:
            nonlocal fallbacks
            outcome = await theirs(question)
            seconds.append(outcome.seconds)
            fallbacks += is_fallback(question.method, outcome)
            return outcome

        comparison = Comparison(ask_ours=ours if compares else measured, ask_theirs=measured, rate=rate)

        async def ask(question: Question) -> None:
            if compares:
                await comparison.ask(question)
            else:
                comparison.note_alone(await measured(question))

        began = time.perf_counter()
        with progress("replaying", total=len(questions), rate=rate, write=self.stderr.write) as advance:
            await for_each(questions, ask, rate=rate, advance=advance)
        values = _measured(seconds, took=time.perf_counter() - began)
        summary = values | {
            "fallbacks": fallbacks,
            "compared_with": _compared_with(options, compares=compares),
        }
        await comparison.ask_again()
        return comparison, summary


def _compared_with(options: Mapping[str, Any], *, compares: bool) -> str:
    if not compares:
        return "nothing: the recording has no replies, for its ids are hashed"
    return options["address"] or "the recording"


def _reads(file: Path) -> list[Recorded]:
    try:
        reads = list(recorded(file))
    except OSError as error:
        message = f"{file} cannot be read ({error.strerror})"
        raise CommandError(message, returncode=EXIT_NOT_ASKED) from error
    except InvalidRecording as error:
        raise CommandError(str(error), returncode=EXIT_NOT_ASKED) from error
    if not reads:
        message = f"{file} holds no read"
        raise CommandError(message, returncode=EXIT_NOT_ASKED)
    return reads


def _as_recorded(reads: Sequence[Recorded]) -> Ask:
    """Answers as it was answered then; of one question that was asked twice, the last time."""
    replies = {(each.method, each.request): each.reply for each in reads}

    async def ask(question: Question) -> Outcome:
        return Outcome(replies[question.method, question.request] or b"")

    return ask


def _measured(seconds: Sequence[float], *, took: float) -> dict[str, object]:
    ordered = sorted(seconds)
    percentiles = {
        f"p{percent:g}_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000, 2)
        for percent in PERCENTILES
    }
    return {
        "asked": len(ordered),
        "per_second": round(len(ordered) / max(took, 0.001), 1),
        **percentiles,
        "max_ms": round(ordered[-1] * 1000, 2),
    }
