"""How long the processes of a storm waited for a processor: on a busy machine nothing is on time.

The kernel counts it for each thread (`schedstat`): it could have run, and another did. What takes turns at a
call waits one after the other, so a call was kept waiting no longer than the thread that waited most.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

BUSY_SHARE = 0.5
_NS = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The most that one thread waited between two looks."""

    began: float
    ended: float
    seconds: float


@dataclass(slots=True, kw_only=True)
class Waits:
    """Of a run, in order."""

    spans: list[Wait] = field(default_factory=list)

    def within(self, began: float, ended: float) -> float:
        """Seconds of that time in which something waited that would have been needed, at most all of it."""
        return sum(
            span.seconds
            * max(0.0, min(ended, span.ended) - max(began, span.began))
            / (span.ended - span.began)
            for span in self.spans
        )

    def was_busy(self, began: float, ended: float) -> bool:
        """True when something waited half of half a second: the sidecar's own budgets of time end by that."""
        return any(
            span.seconds > BUSY_SHARE * (span.ended - span.began)
            for span in self.spans
            if span.began <= ended and began <= span.ended
        )


class Look:
    """Looks again and again at the same processes and at those that they start."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}
        self._looked_at: float | None = None

    def again(self, processes: Iterable[int], *, at: float) -> Wait | None:
        """What was waited since the last look; None at the first one."""
        waited = {thread: seconds for pid in processes for thread, seconds in _waited(pid)}
        began, self._looked_at = self._looked_at, at
        known, self._known = self._known, waited
        if began is None or at <= began:
            return None
        most = max((seconds - known.get(thread, seconds) for thread, seconds in waited.items()), default=0.0)
        return Wait(began=began, ended=at, seconds=min(most, at - began))


def _waited(pid: int) -> Iterable[tuple[str, float]]:
    """By thread; nothing where it has just ended."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                yield thread.name, int((thread / "schedstat").read_text().split()[1]) * _NS
