"""The configured fallbacks in force: the database's before ENTITLEMENTS_FALLBACK."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import MappingProxyType

from django.db import DatabaseError, connections

from entitlements.domain.fallback import FallbackOrigin, FallbackValue
from entitlements.domain.ports import Clock
from entitlements.models import FallbackRule
from entitlements.occasional_log import OccasionalLog

logger = logging.getLogger(__name__)

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
        self._log = OccasionalLog(logger, clock.monotonic)

    def current(self) -> Mapping[str, FallbackValue]:
        """By feature id; a snapshot that is never changed in place."""
        return self._current

    def origin_of(self, feature_id: str) -> FallbackOrigin:
        """The database before the environment."""
        if feature_id in self._stored:
            return FallbackOrigin.DATABASE
        return FallbackOrigin.ENVIRONMENT if feature_id in self._configured else FallbackOrigin.DEFAULT

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """While entered, what changes in the database comes into force; it is read once before."""
        # One thread of its own: it keeps its connection, and a slow database delays nothing else.
        with ThreadPoolExecutor(1, "fallback-rules") as thread:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(thread, self.read)
            task = asyncio.create_task(self._poll(thread), name="fallback-rules")
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await loop.run_in_executor(thread, connections.close_all)  # that thread's own

    def read(self) -> None:
        """Takes over what the database holds; where it cannot be read, what was last read stays in force."""
        try:
            stored = {
                rule.feature_id: rule.as_value() for rule in FallbackRule.objects.filter(is_active=True)
            }
        except DatabaseError:
            self._log.warning("database", "the fallback rules of the database cannot be read")
            connections.close_all()
            return
        self._stored = stored
        self._current = MappingProxyType({**self._configured, **stored})

    async def _poll(self, thread: ThreadPoolExecutor) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            await asyncio.get_running_loop().run_in_executor(thread, self.read)
