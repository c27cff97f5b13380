"""Finds out at start whether the API key is valid, and says so.

Nothing waits for it (contract/operations.md, When something is down).
"""

import asyncio
import enum
import logging
from typing import Protocol

from entitlements import metrics
from entitlements.domain.errors import Forbidden, KeyRefused, Offline, UpstreamError
from entitlements.domain.ports import Clock
from entitlements.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)

CHECK_BUDGET_SECONDS = 10.0
"""One check takes no longer."""
RETRY_SECONDS = 15.0
"""Between two checks that did not succeed."""


class KeyVerdict(enum.Enum):
    """What is known of the API key."""

    UNKNOWN = "unknown"
    """The cloud could not be asked yet."""
    VALID = "valid"
    REFUSED = "refused"
    """Checked again every RETRY_SECONDS: it may be fixed in the cloud."""
    NOT_NEEDED = "not needed"
    """Offline mode asks nobody."""


def verdict_of(error: UpstreamError) -> KeyVerdict:
    """What a failed question about the key says of it."""
    if isinstance(error, Offline):
        return KeyVerdict.NOT_NEEDED
    # To one customer's fetch a 403 says nothing of the key; where the key is asked about, it does.
    return KeyVerdict.REFUSED if isinstance(error, KeyRefused | Forbidden) else KeyVerdict.UNKNOWN


class KeyChecker(Protocol):
    """Who can ask the cloud about the key."""

    async def check_key(self, *, budget_seconds: float) -> None:
        """Returns when the key is valid; raises KeyRefused or another UpstreamError."""
        ...


class KeyCheck:
    """Asks until the key is known to be valid."""

    def __init__(self, *, clock: Clock) -> None:
        self.verdict = KeyVerdict.UNKNOWN
        self.has_failed = False
        """True after a check that brought no verdict, until one does."""
        self._doubted = asyncio.Event()
        self._log = RateLimitedLog(logger, clock.monotonic)

    def doubt(self) -> None:
        """Has a valid key checked again: something was refused without naming the key."""
        self._doubted.set()

    async def run(self, checker: KeyChecker) -> None:
        """Returns once the verdict is final: not needed."""
        while self.verdict is not KeyVerdict.NOT_NEEDED:
            if await self._ask(checker):
                self._doubted.clear()
                await self._doubted.wait()
            await asyncio.sleep(RETRY_SECONDS)

    async def _ask(self, checker: KeyChecker) -> bool:
        try:
            await checker.check_key(budget_seconds=CHECK_BUDGET_SECONDS)
        except UpstreamError as error:
            self.verdict = verdict_of(error)
            if self.verdict is KeyVerdict.NOT_NEEDED:
                return False
            self.has_failed = True
            metrics.INITIALIZATION_ERRORS.inc()
            self._log.warning(error.outcome, "the API key could not be verified: %s", error)
            return False
        self.accepted()
        logger.info("the API key is valid")
        return True

    def accepted(self) -> None:
        """The cloud took the key that is in use."""
        self.verdict = KeyVerdict.VALID
        self.has_failed = False
