"""Questions asked of two sidecars, how their answers compare, and how that is shown to a person."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from django.core.management.base import CommandError, CommandParser

from entitlements.background import awaited
from entitlements.domain.difference import WORST_FIRST, Constancy, Difference, judge, worst_of
from entitlements.management.printing import EXIT_NO, EXIT_NOT_ASKED, EXIT_YES, Printer
from grpc_service.client import SidecarClient
from grpc_service.comparison import OK, Outcome, compare
from grpc_service.management.pacing import Advance, add_rate, paced
from grpc_service.shadow import ASK_AGAIN_SECONDS

DEFAULT_RATE = 500.0
"""Questions a second, unless `--rate` says otherwise."""
CALL_SECONDS = 30.0
MAX_UNDER_WAY = 64
"""So many questions are under way at a time."""
MAX_DIFFERING = 10_000
"""Past so many questions whose answers differ no more are asked: it is another environment, most likely."""
SHOWN_DIFFERENCES = 20
"""So many kinds of differences are in the table; JSON has them all."""
_COLUMNS = ("verdict", "method", "field", "questions", "customer", "element", "ours", "theirs")
_STYLES = {"lasting": "bold red", "transient": "dim", "undecided": "yellow"}


class Question(NamedTuple):
    """A read, as bytes, and whom it is about."""

    method: str
    request: bytes
    customer: str
    resource: str = ""


Ask = Callable[[Question], Awaitable[Outcome]]
Answers = tuple[Outcome, Outcome]


def add_options(parser: CommandParser, *, rate: str) -> None:
    """The pace and the form of the outcome; `rate` says what the pace is of."""
    add_rate(parser, default=DEFAULT_RATE, meaning=f"{rate} (default: {DEFAULT_RATE:g})")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON, for scripts")


def asks(client: SidecarClient) -> Ask:
    """Asks this sidecar."""

    async def ask(question: Question) -> Outcome:
        return await client.ask(question.method, question.request, seconds=CALL_SECONDS)

    return ask


@dataclass(kw_only=True)
class Comparison:
    """How the answers of two compare."""

    ask_ours: Ask
    ask_theirs: Ask
    rate: float
    """No more questions than so many a second."""
    same: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    """By what came instead of an answer."""
    differing: dict[Question, list[Sequence[Difference]]] = field(default_factory=dict)
    """Of each asking, the first one first."""

    @property
    def has_enough(self) -> bool:
        """Nothing more is learned."""
        return len(self.differing) >= MAX_DIFFERING

    async def ask(self, question: Question) -> Answers:
        """Asks both, and notes how the answers compare."""
        ours, theirs = await asyncio.gather(self.ask_ours(question), self.ask_theirs(question))
        if not (ours.is_answered and theirs.is_answered):
            self.unanswered.update(
                f"{side}: {each.status}"
                for side, each in (("ours", ours), ("theirs", theirs))
                if not each.is_answered
            )
            return ours, theirs
        differences = compare(question.method, ours, theirs)
        if question in self.differing:
            self.differing[question].append(differences)
        elif differences:
            self.differing[question] = [differences]
        else:
            self.same += 1
        return ours, theirs

    def note_alone(self, outcome: Outcome) -> None:
        """Notes an answer that is compared with nothing."""
        if outcome.status != OK:
            self.unanswered[f"theirs: {outcome.status}"] += 1

    async def ask_again(self) -> None:
        """Asks once more whatever differed, until all agrees or the pauses are over."""
        for seconds in ASK_AGAIN_SECONDS:
            left = [question for question, asked in self.differing.items() if asked[-1]]
            if not left:
                return
            await asyncio.sleep(seconds)
            async for question in paced(left, rate=self.rate):
                await self.ask(question)

    def judged(self) -> Iterator[tuple[Question, Difference, Constancy]]:
        """Every difference, and whether it lasts."""
        for question, asked in self.differing.items():
            for difference, constancy in judge(asked).items():
                yield question, difference, constancy


async def for_each(
    questions: Iterable[Question],
    work: Callable[[Question], Awaitable[None]],
    *,
    rate: float,
    advance: Advance,
) -> None:
    """Does the work for each, at a pace, so many at a time."""
    slots = asyncio.Semaphore(MAX_UNDER_WAY)

    async def one(question: Question) -> None:
        try:
            await work(question)
        finally:
            slots.release()
            advance()

    under_way: set[asyncio.Task[None]] = set()
    async for question in paced(questions, rate=rate):
        await slots.acquire()
        task = awaited(one(question), name="ask")
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)


async def both_answer(addresses: Mapping[str, Ask], question: Question) -> None:
    """Returns where everybody answers.

    Raises:
        CommandError: one does not.
    """
    for address, ask in addresses.items():
        outcome = await ask(question)
        if not outcome.is_answered:
            message = f"no sidecar answers at {address} ({outcome.status})"
            raise CommandError(message, returncode=EXIT_NOT_ASKED)


def report(comparison: Comparison, values: Mapping[str, object], *, printer: Printer, as_json: bool) -> int:
    """Prints a table and a summary, or JSON; returns the exit code.

    Args:
        comparison: what was found.
        values: shown beside it, by name.
        printer: of the command.
        as_json: the person said `--json`.
    """
    judged = list(comparison.judged())
    worst = Counter(worst_of(judge(asked).values()).value for asked in comparison.differing.values())
    summary: dict[str, object] = {
        "same": comparison.same,
        **{each.value: worst[each.value] for each in Constancy},
        "unanswered": comparison.unanswered.total(),
        **values,
    }
    if comparison.unanswered:
        summary["causes"] = dict(comparison.unanswered)
    if as_json:
        printer.values(summary | {"differences": [_document(*each) for each in judged]})
    else:
        if judged:
            printer.rows(_rows(judged), columns=_COLUMNS, styles=_STYLES)
        printer.values(summary)
    if worst[Constancy.LASTING.value]:
        return EXIT_NO
    return EXIT_NOT_ASKED if comparison.unanswered else EXIT_YES


def _document(question: Question, difference: Difference, constancy: Constancy) -> dict[str, object]:
    about: dict[str, object] = {
        "method": question.method,
        "customer": question.customer,
        "resource": question.resource or None,
    }
    return about | difference._asdict() | {"verdict": constancy.value}


def _rows(judged: Sequence[tuple[Question, Difference, Constancy]]) -> list[dict[str, object]]:
    """One row for each kind of difference, the frequent first, with one customer as the example."""
    kinds: Counter[tuple[Constancy, str, str]] = Counter()
    examples: dict[tuple[Constancy, str, str], dict[str, object]] = {}
    for question, difference, constancy in judged:
        kind = constancy, question.method, difference.field
        kinds[kind] += 1
        examples.setdefault(kind, _document(question, difference, constancy))
    ranked = sorted(kinds, key=lambda kind: (WORST_FIRST.index(kind[0]), -kinds[kind]))
    return [
        {name: _cell(value) for name, value in examples[kind].items()} | {"questions": kinds[kind]}
        for kind in ranked[:SHOWN_DIFFERENCES]
    ]


def _cell(value: object) -> object:
    return "-" if value in (None, "") else value
