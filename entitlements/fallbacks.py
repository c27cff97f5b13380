"""The configured fallbacks in force: the database's before ENTITLEMENTS_FALLBACK."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType

from django.core.exceptions import ValidationError
from django.db import DatabaseError, connections

from entitlements import metrics
from entitlements.background import Background
from entitlements.domain.fallback import FallbackOrigin, FallbackValue
from entitlements.domain.ports import Clock
from entitlements.models import FallbackRule
from entitlements.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)

TASK = "fallback-rules"
POLL_SECONDS = 0.5
"""A rule that is changed in any process is in force in this one so much later."""


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
    """The rules of the database over the configured ones; read in the background, never by a check."""

    def __init__(
        self, configured: Mapping[str, FallbackValue], *, clock: Clock, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self._configured = configured
        self._current = configured
        self._stored: Mapping[str, FallbackValue] = MappingProxyType({})
        self._poll_seconds = poll_seconds
        self._log = RateLimitedLog(logger, clock.monotonic)
        self.is_readable = True
        """False while the database cannot be read."""

    def current(self) -> Mapping[str, FallbackValue]:
        """By feature id; a snapshot that is never changed in place."""
        return self._current

    def origin_of(self, feature_id: str) -> FallbackOrigin:
        """The database before the environment."""
        if feature_id in self._stored:
            return FallbackOrigin.DATABASE
        return FallbackOrigin.ENVIRONMENT if feature_id in self._configured else FallbackOrigin.DEFAULT

    @asynccontextmanager
    async def followed(self, background: Background) -> AsyncIterator[None]:
        """While entered, what changes in the database comes into force; it is read once before."""
        # One thread of its own: it keeps its connection, and a slow database delays nothing else.
        with ThreadPoolExecutor(1, "fallback-rules") as thread:
            loop = asyncio.get_running_loop()
            read = partial(self.read, partial(background.skip, TASK))
            await loop.run_in_executor(thread, read)

            async def poll() -> None:
                while True:
                    await asyncio.sleep(self._poll_seconds)
                    await loop.run_in_executor(thread, read)

            try:
                async with background.kept(TASK, poll):
                    yield
            finally:
                await loop.run_in_executor(thread, connections.close_all)  # that thread's own

    def read(self, skip: Callable[[str, str], None]) -> None:
        """Takes over what the database holds; where it cannot be read, what was last read stays in force.

        A row that is no fallback is left out: ENTITLEMENTS_FALLBACK or the default answers for its feature.

        Args:
            skip: called with the feature of each such row, and which of its fields cannot be used.
        """
        try:
            rules = list(FallbackRule.objects.filter(is_active=True))
        except DatabaseError:
            self.is_readable = False
            metrics.DATABASE_ERRORS.inc()
            self._log.warning("database", "the fallback rules of the database cannot be read")
            connections.close_all()
            return
        self.is_readable = True
        stored = {}
        for rule in rules:
            try:
                stored[rule.feature_id] = rule.as_value()
            except ValidationError as error:
                skip(rule.feature_id, f"{', '.join(sorted(error.message_dict))} cannot be used")
        self._stored = stored
        self._current = MappingProxyType({**self._configured, **stored})
