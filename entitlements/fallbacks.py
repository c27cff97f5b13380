"""The configured fallbacks in force: the database's before ENTITLEMENTS_FALLBACK."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

from entitlements.background import Background
from entitlements.domain.fallback import FallbackOrigin, FallbackValue
from entitlements.domain.ports import Clock
from entitlements.fallback_versions import FallbackTable, RuleVersion
from entitlements.redis.shared_records import SharedRecords
from entitlements.shared_table import POLL_SECONDS, SharedTable, Table

TASK = "fallback-rules"
SHARED_SECONDS = 90 * 24 * 3600
"""Redis forgets all of them so long after the last change; each pod's own copy fills it again."""


class ConfiguredRules:
    """The rules of ENTITLEMENTS_FALLBACK."""

    def __init__(self, rules: Mapping[str, FallbackValue]) -> None:
        self._rules = rules

    def current(self) -> Mapping[str, FallbackValue]:
        """By feature id; a snapshot that is never changed in place."""
        return self._rules

    def origin_of(self, feature_id: str) -> FallbackOrigin:
        """The environment, or nowhere."""
        return FallbackOrigin.ENVIRONMENT if feature_id in self._rules else FallbackOrigin.DEFAULT


class StoredRules:
    """The rules of the database, and of others' through Redis, over the configured ones.

    They are read in the background, never by a check.
    """

    def __init__(
        self,
        configured: Mapping[str, FallbackValue],
        *,
        clock: Clock,
        shared: SharedRecords | None = None,
        poll_seconds: float = POLL_SECONDS,
        table: Table[RuleVersion] | None = None,
    ) -> None:
        self._configured = configured
        self._current = configured
        self._stored: Mapping[str, FallbackValue] = MappingProxyType({})
        self._table = SharedTable(
            table or FallbackTable(clock), task=TASK, clock=clock, shared=shared, poll_seconds=poll_seconds
        )

    def current(self) -> Mapping[str, FallbackValue]:
        """By feature id; a snapshot that is never changed in place."""
        return self._current

    def origin_of(self, feature_id: str) -> FallbackOrigin:
        """The database before the environment."""
        if feature_id in self._stored:
            return FallbackOrigin.DATABASE
        return FallbackOrigin.ENVIRONMENT if feature_id in self._configured else FallbackOrigin.DEFAULT

    @property
    def is_readable(self) -> bool:
        """False while the database cannot be read."""
        return self._table.is_readable

    @asynccontextmanager
    async def followed(self, background: Background) -> AsyncIterator[None]:
        """While entered, what changes in the database comes into force; it is read once before."""
        async with self._table.followed(background, self.refresh):
            yield

    async def refresh(self) -> None:
        """Takes over what was changed here and elsewhere; what cannot be read stays as it was.

        A row that is no fallback is left out: ENTITLEMENTS_FALLBACK or the default answers for its feature.
        """
        known = await self._table.look()
        stored = {
            each.feature_id: each.value
            for each in known.values()
            if each.is_active and each.value is not None
        }
        if stored != self._stored:
            self._stored = stored
            self._current = MappingProxyType({**self._configured, **stored})
