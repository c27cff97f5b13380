"""Overrides as a table that pods share: never changed but by ending them."""

from collections.abc import Sequence

from entitlements.domain.override import Override
from entitlements.domain.ports import Clock
from entitlements.override_row import EntitlementOverride
from entitlements.overrides import ledger
from entitlements.overrides.codec import merged, override_from, record_of
from entitlements.parsed_rows import ParsedRows
from entitlements.shared_table import Skip


class OverrideTable:
    """The kind of record that overrides are; see `entitlements/shared_table.py`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows = ParsedRows(EntitlementOverride.as_override)

    def rows(self, skip: Skip) -> dict[str, Override]:
        """What runs or ended lately."""
        rows = ledger.rows(now_ms=self._clock.now_ms())
        return {each.id: each for each in self._rows.look(rows, lambda row, cause: skip(row.id, cause))}

    def take_over(self, learned: Sequence[Override]) -> None:
        """Keeps what others announced."""
        ledger.take_over(learned)

    def encoded(self, record: Override) -> bytes:
        """As JSON."""
        return record_of(record)

    def decoded(self, id_: str, received: bytes) -> Override:
        """Of such JSON."""
        return override_from(id_, received)

    def merged(self, held: Override | None, received: Override) -> Override:
        """What one of the two knows as ended has ended."""
        return merged(held, received)

    def is_past(self, record: Override) -> bool:
        """A day after its time nobody takes it for running."""
        return record.ends_ms <= self._clock.now_ms() - ledger.FOLLOWED_AFTER_MS
