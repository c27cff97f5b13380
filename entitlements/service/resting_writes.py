"""Which writes of the outbox rest: the cloud failed on them alone, without a reason, while it took others.

A batch that fails so is made smaller until one write stands alone. Whether that one is at fault or the cloud
is away shows in what comes after it: where another is taken, the one that failed is tried once more, for the
outage may have ended in between, and then rests, longer each time. Where the next ones fail as well it is the
cloud, and nothing was found out about any of them.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from entitlements.domain.outbox import OutboxEntry
from entitlements.domain.usage import UsageReport

FIRST_REST_SECONDS = 30.0
LONGEST_REST_SECONDS = 3600.0
"""A rest doubles with each failure, up to this."""
MAX_RESTING = 100
"""How many rest at a time; past it a write that fails holds the others up again."""
MAX_SUSPECTS = 3
"""How many that fail alone one after the other are the cloud's fault."""


@dataclass(slots=True)
class _Rest:
    until: float
    seconds: float
    meter: Hashable


@dataclass(slots=True)
class RestingWrites:
    """Times are monotonic seconds, passed in."""

    _rests: dict[str, _Rest] = field(default_factory=dict)
    _suspects: dict[str, Hashable] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many rest."""
        return len(self._rests)

    def leave_out(self, entries: Sequence[OutboxEntry], *, now: float) -> list[OutboxEntry]:
        """Those that may be sent; a report waits behind an earlier one of its meter, to keep their order."""
        held_up = {meter for meter in self._suspects.values() if meter is not None}
        held_up |= {
            rest.meter for rest in self._rests.values() if rest.until > now and rest.meter is not None
        }
        return [
            entry
            for entry in entries
            if entry.id not in self._suspects
            and not self._rests_now(entry.id, now)
            and (_meter(entry) not in held_up or entry.id in self._rests)
        ]

    def has_rested(self, entry: OutboxEntry) -> bool:
        """True for one that failed before and may be tried again."""
        return entry.id in self._rests

    def forget_suspects(self) -> None:
        """Nothing was found out about them."""
        self._suspects.clear()

    def failed_alone(self, entry: OutboxEntry) -> None:
        """It failed without a reason, with no other beside it."""
        self._suspects[entry.id] = _meter(entry)
        if len(self._suspects) > MAX_SUSPECTS:
            self._suspects.clear()

    def taken(self, entries: Sequence[OutboxEntry], *, now: float) -> None:
        """The cloud took these: what failed alone before them is at fault itself."""
        for entry in entries:
            self._rests.pop(entry.id, None)
        for id_, meter in self._suspects.items():
            seconds = _next_seconds(self._rests.pop(id_, None))
            if len(self._rests) < MAX_RESTING:
                self._rests[id_] = _Rest(until=now + seconds, seconds=seconds, meter=meter)
        self._suspects.clear()

    def gone(self, entry: OutboxEntry) -> None:
        """It was settled or buried."""
        self._rests.pop(entry.id, None)
        self._suspects.pop(entry.id, None)

    def _rests_now(self, id_: str, now: float) -> bool:
        rest = self._rests.get(id_)
        return rest is not None and rest.until > now


def _next_seconds(rest: _Rest | None) -> float:
    """At once, then longer and longer."""
    if rest is None:
        return 0.0
    return min(max(rest.seconds * 2, FIRST_REST_SECONDS), LONGEST_REST_SECONDS)


def _meter(entry: OutboxEntry) -> Hashable:
    """What a report moves; None for an event, which says itself when it happened."""
    write = entry.write
    return (write.key, write.feature_id) if isinstance(write, UsageReport) else None
