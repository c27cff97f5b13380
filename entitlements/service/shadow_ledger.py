"""What the comparison with another sidecar has found so far; it asks nobody itself."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

from entitlements import metrics
from entitlements.domain.difference import Constancy, Difference, worst_of
from entitlements.domain.ports import Clock

KEPT = 100
"""So many questions are kept whose answers differ for good, and as many others; the oldest goes first."""
FAILURES_UNTIL_AWAY = 10
"""After so many unanswered reads in a row the other one counts as away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRead:
    """One question whose two answers differed."""

    method: str
    customer: str
    """Hashed, unless SIDECAR_SHADOW_IDS; so is the resource."""
    resource: str
    feature: str
    """Or currency; empty for lists."""
    differences: Mapping[Difference, Constancy]
    our_knowledge: str
    """Where our last answer came from, in which state, how old."""
    their_knowledge: str
    """The same of the other one; empty where it does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A question whose answers differed, once or again."""

    read: ComparedRead
    found_at_ms: int
    """The last time."""
    times: int = 1


class ShadowLedger:
    """Counts and keeps; its methods belong to one event loop, the properties are read from any thread."""

    def __init__(self, *, address: str, clock: Clock) -> None:
        """Knows nothing yet.

        Args:
            address: SIDECAR_SHADOW_ADDRESS, for people.
            clock: the time of a find.
        """
        self.address = address
        self._clock = clock
        self._lasting: dict[Hashable, Finding] = {}
        self._others: dict[Hashable, Finding] = {}
        self._failures = 0
        self.last_failure = ""
        self.counts = dict.fromkeys(("same", *(each.value for each in Constancy), "failed"), 0)
        """How many reads ended so."""

    @property
    def is_away(self) -> bool:
        """True while the other one does not answer."""
        return self._failures >= FAILURES_UNTIL_AWAY

    @property
    def lasting(self) -> list[Finding]:
        """Questions whose answers stay different, the last found first."""
        return list(reversed(list(self._lasting.values())))

    @property
    def others(self) -> list[Finding]:
        """Questions whose answers differed for a moment, or moved faster than they were asked; as above."""
        return list(reversed(list(self._others.values())))

    def agreed(self, method: str) -> None:
        """Two answers were the same."""
        self._count(method, "same")

    def failed(self, method: str, status: str) -> None:
        """The other one did not answer."""
        failures = self._failures + 1
        self._count(method, "failed")
        self._failures, self.last_failure = failures, status

    def differed(self, question: Hashable, read: ComparedRead) -> None:
        """Two answers differed, and were asked for again."""
        for difference, constancy in read.differences.items():
            if constancy is Constancy.LASTING:
                metrics.SHADOW_DIFFERENCES.labels(read.method, difference.field).inc()
            elif constancy is Constancy.TRANSIENT:
                metrics.SHADOW_TRANSIENT_DIFFERENCES.labels(read.method, difference.field).inc()
        worst = worst_of(read.differences.values())
        self._count(read.method, worst.value)
        self._keep(self._lasting if worst is Constancy.LASTING else self._others, question, read)

    def _count(self, method: str, outcome: str) -> None:
        metrics.SHADOW_READS.labels(method, outcome).inc()
        self.counts[outcome] += 1
        self._failures = 0

    def _keep(self, kept: dict[Hashable, Finding], question: Hashable, read: ComparedRead) -> None:
        """Replaces the find of the same question, so that one customer does not push out the others."""
        finding = Finding(read=read, found_at_ms=self._clock.now_ms())
        before = kept.pop(question, None)
        kept[question] = finding if before is None else replace(finding, times=before.times + 1)
        if len(kept) > KEPT:
            del kept[next(iter(kept))]
