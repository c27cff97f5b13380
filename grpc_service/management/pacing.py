"""At a pace, and with a report of how far it is: for commands that ask very often."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from entitlements.management.printing import EXIT_NOT_ASKED
from entitlements.management.question import finite

REPORT_SECONDS = 10.0
"""In a pipe a line says so often how far it is."""
CATCH_UP_SECONDS = 0.05
"""What comes late is made up for within this and no further, so that no pause ends in a burst."""

_Item = TypeVar("_Item")
Advance = Callable[[], None]


def add_rate(parser: CommandParser, *, default: float, meaning: str) -> None:
    """The option that says how often is asked; `rate_of` reads it."""
    parser.add_argument("--rate", type=finite, default=default, help=meaning)


def rate_of(options: Mapping[str, Any]) -> float:
    """How often a second is asked; raises CommandError where nothing would be."""
    rate = float(options["rate"])
    if not rate > 0:
        raise CommandError("--rate must be a number above 0", returncode=EXIT_NOT_ASKED)
    return rate


async def paced(items: Iterable[_Item], *, rate: float) -> AsyncIterator[_Item]:
    """The same items, at most so many a second."""
    interval_seconds = 1 / rate
    due = time.perf_counter()
    for item in items:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        yield item
        due = max(due + interval_seconds, time.perf_counter() - CATCH_UP_SECONDS)


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        """Nothing before it is known."""
        return Text("" if task.speed is None else f"{task.speed:.1f}/s")


def bar() -> Progress:
    """Done, rate and time left, where a person looks on."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)


@contextmanager
def progress(activity: str, *, total: int, rate: float, write: Callable[[str], Any]) -> Iterator[Advance]:
    """Shows how far it is, and when it will end: a bar on a terminal, else a line now and then.

    Args:
        activity: what is done, `comparing`.
        total: so many items.
        rate: no more than so many a second.
        write: takes a line.
    """
    lines = _Lines(activity, total=total, rate=rate, write=write)
    with bar() as shown:
        task = shown.add_task(activity, total=total)
        if shown.disable:
            lines.begin()

        def advance() -> None:
            shown.advance(task)
            if shown.disable:
                lines.advance()

        yield advance


class _Lines:
    """How far it is, in lines."""

    def __init__(self, activity: str, *, total: int, rate: float, write: Callable[[str], Any]) -> None:
        self._activity, self._total, self._rate, self._write = activity, total, rate, write
        self._began = self._last_reported = time.perf_counter()
        self._done = 0

    def begin(self) -> None:
        """Before the first: the least that it takes."""
        self._write(f"{self._activity} {self._total:,}: {self._total / self._rate:,.0f} s or more")

    def advance(self) -> None:
        """One more is done."""
        self._done += 1
        now = time.perf_counter()
        if now - self._last_reported >= REPORT_SECONDS:
            self._last_reported = now
            left = (now - self._began) / self._done * (self._total - self._done)
            self._write(f"{self._activity}: {self._done:,} of {self._total:,}, about {left:,.0f} s left")
