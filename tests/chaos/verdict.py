"""What a run may be guilty of, and how it is said."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.chaos.records import Run

STARVED_TIMES = 4
"""Bounds of time are wider by so many times what the client's own timer was late: so often a call waits."""


class Kind(StrEnum):
    """What a run may be guilty of."""

    FAILED = "failed reads"
    """No instance answered, or one failed that nothing had happened to."""
    WRONG = "wrong and not marked"
    """Never true; no longer true and marked fresh; or older than what the same connection said before."""
    OLD = "older than the bound"
    """However marked."""
    FALLBACK = "fallbacks in spite of a cached answer"
    SLOW = "slow reads"
    LOST = "writes lost"
    """Promised, and not in the cloud's ledger."""
    TWICE = "writes counted twice"
    UNHEALED = "not healed"
    DIED = "processes that died by themselves"
    """Or that did not end well when they were asked to."""
    OVERRIDDEN = "overrides that outlived their time"
    SPENT = "requests above the budget"
    """To the Edge in any minute."""
    ROUGH = "recoveries that were a rush"
    """Requests to the cloud after an outage: above twice the steady rate plus the budget's burst."""
    LURED = "keys shown to a stranger"
    """A redirection was followed."""
    LEAKED = "sockets, threads or tasks left open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that must not happen."""

    kind: Kind
    at: float
    """Seconds since the run began."""
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A run and what it is guilty of."""

    run: Run
    violations: Sequence[Violation]

    @property
    def counts(self) -> Counter[Kind]:
        """How often each kind occurred."""
        return Counter(violation.kind for violation in self.violations)


def violation_of(run: Run, kind: Kind, at: float, words: str) -> Violation:
    """Found at that moment."""
    return Violation(kind=kind, at=round(at - run.began, 2), words=words)


def starved(run: Run) -> float:
    """What a busy computer adds to every bound of time."""
    return STARVED_TIMES * run.starved_seconds


def late(run: Run, began: float, ended: float) -> float:
    """What a busy computer adds to a bound of that time: what was waited in it for a processor, too."""
    return max(starved(run), run.waits.within(began, ended))
