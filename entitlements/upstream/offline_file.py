"""The file of an offline sidecar while it runs: read at the start, and again whenever it changes."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from entitlements import metrics
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.ports import Clock
from entitlements.file_version import file_version
from entitlements.upstream.offline_document import InvalidOfflineFile, read_offline_file

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""A change is seen within this."""
MAX_PROBLEMS_LOGGED = 10
"""How many faults of one version are logged."""


class OfflineFile:
    """What SIDECAR_OFFLINE_FILE says; a new version that is broken leaves the old one in force."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        """Reads the file; raises InvalidOfflineFile."""
        self.path = path
        self._clock = clock
        self._version = file_version(self.path)
        self._states = read_offline_file(path, now_ms=clock.now_ms())
        self.loaded_ms = clock.now_ms()
        """When the version in force was read."""
        self.problems: tuple[str, ...] = ()
        """What is wrong with the newest version, if it is not in force."""

    @property
    def entities(self) -> int:
        """How many customers and resources it knows."""
        return len(self._states)

    def get(self, key: EntityKey) -> Entity | None:
        """What it says of an entity, or None."""
        return self._states.get(key)

    async def follow(self, changed: Callable[[], None], *, poll_seconds: float = POLL_SECONDS) -> None:
        """Reads every new version, and calls `changed` after each that is in force; ends by cancellation."""
        while True:
            await asyncio.sleep(poll_seconds)
            version = file_version(self.path)
            if version == self._version:
                continue
            self._version = version
            if await self._reload():
                changed()

    async def _reload(self) -> bool:
        try:
            states = await asyncio.to_thread(read_offline_file, self.path, now_ms=self._clock.now_ms())
        except InvalidOfflineFile as error:
            self.problems = error.problems
            metrics.OFFLINE_FILE_RELOADS.labels("refused").inc()
            logger.warning(
                "the new version of the offline file is broken; the old one stays in force",
                extra={
                    "problems": list(error.problems[:MAX_PROBLEMS_LOGGED]),
                    "problem_count": len(error.problems),
                },
            )
            return False
        self._states = states
        self.problems = ()
        self.loaded_ms = self._clock.now_ms()
        metrics.OFFLINE_FILE_RELOADS.labels("loaded").inc()
        logger.info("the offline file was read again", extra={"entities": len(states)})
        return True
