"""What a read answers: the decision, where it came from, and what was seen of the entity at that moment."""

from dataclasses import dataclass
from typing import NamedTuple

from entitlements.domain.decision import Decision
from entitlements.domain.evaluation import EntitlementList
from entitlements.domain.freshness import EntityState, Trust
from entitlements.domain.ports import Lookup, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where an answer came from."""

    source: Source
    state: EntityState | None = None
    """None when nothing is held, so that nothing can be fresh."""
    age_ms: int | None = None
    """Since the entity was last confirmed by the cloud."""


class Seen(NamedTuple):
    """What is known of an entity at the moment of a read."""

    known: Lookup
    state: EntityState
    """How far it can be relied on."""
    trust: Trust
    """By what the feed was at that moment."""
    now: float
    """Monotonic seconds."""
    now_ms: int
    """The same moment by the wall clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a check."""

    decision: Decision
    provenance: Provenance
    seen: Seen | None = None
    """What it was decided from; None when nothing was known."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All that was decided."""
        return (self.decision,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAnswer:
    """The answer to a list."""

    entitlements: EntitlementList
    provenance: Provenance
    seen: Seen | None = None
    """What it was decided from; None when nothing was known."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All that was decided."""
        return self.entitlements.decisions
