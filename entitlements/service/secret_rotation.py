"""Takes secrets anew when their files change: tried first, the one before it serves until then.

A new DATABASE_URL, SIDECAR_SECRET_KEY or SIDECAR_ADMIN_PASSWORD needs a restart.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from entitlements import metrics
from entitlements.domain.ports import Clock
from entitlements.file_version import FileVersion, file_version
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.secret_file import KNOWN_SECRETS, UnusableSecretFile, read_secret
from entitlements.service.key_check import KeyVerdict

logger = logging.getLogger(__name__)

ROTATING = frozenset({"REDIS_PASSWORD", "REDIS_USERNAME", "SERVER_API_KEY", "SIDECAR_HTTP_TOKEN"})
"""The variables that a running process can change; the files of all others are read at the start alone."""
LOOK_SECONDS = 2.0
"""So often the files are looked at."""
RETRY_SECONDS = 15.0
"""So often a secret that was not taken is tried again: the other side may not know it yet."""

Trial = Callable[[str], Awaitable[KeyVerdict]]
"""What the other side says of a secret, within a bounded time."""
Taking = Callable[[str], Awaitable[None]]
"""Has a secret used from now on."""


async def _valid(_secret: str) -> KeyVerdict:
    """The verdict where this process itself is the one that asks for the secret."""
    return KeyVerdict.VALID


@dataclass(slots=True, kw_only=True)
class FollowedSecret:
    """One secret and its file, for people as well."""

    file: Path
    version: FileVersion
    """Of the file that was read last."""
    in_use: str
    take: Taking
    trial: Trial
    problem: str | None = None
    """Why what the file holds is not in use: `unreadable`, `refused` or `untried`; None where it is."""
    taken_ms: int | None = None
    """When one was taken last, epoch milliseconds; None: the one of the start is in use."""
    tried_at: float = float("-inf")

    @property
    def is_pending(self) -> bool:
        """True while the file holds another secret than the one in use."""
        return self.problem is not None


class SecretRotation:
    """Follows the files of secrets."""

    def __init__(self, files: Mapping[str, Path], *, clock: Clock) -> None:
        """Follows nothing yet; `files` are those of the secrets, by their variables."""
        self.files = {variable: file for variable, file in files.items() if variable in ROTATING}
        self._clock = clock
        self._secrets: dict[str, FollowedSecret] = {}
        self._log = RateLimitedLog(logger, clock.monotonic)

    @property
    def followed(self) -> Mapping[str, FollowedSecret]:
        """By variable."""
        return self._secrets

    def follow(self, variable: str, in_use: str, *, take: Taking, trial: Trial = _valid) -> None:
        """Takes this secret anew when its file changes, if it stands in one."""
        file = self.files.get(variable)
        if file is not None:
            # What changed between the start and now is seen at the first look.
            self._secrets[variable] = FollowedSecret(
                file=file, version=None, in_use=in_use, take=take, trial=trial
            )

    def held(self, variable: str) -> str | None:
        """What the file of a followed secret holds at present, in use or not; None where it holds none."""
        secret = self._secrets.get(variable)
        if secret is None:
            return None
        try:
            value = read_secret(secret.file)
        except UnusableSecretFile:
            return None
        KNOWN_SECRETS.add(value)
        return value

    async def run(self) -> None:
        """Looks at the files until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Takes what changed and is accepted."""
        for variable, secret in self._secrets.items():
            version = file_version(secret.file)
            if version != secret.version or (
                secret.is_pending and self._clock.monotonic() - secret.tried_at >= RETRY_SECONDS
            ):
                secret.version = version  # before reading: what changes meanwhile is seen at the next look
                await self._try(variable, secret)

    async def _try(self, variable: str, secret: FollowedSecret) -> None:
        secret.tried_at = self._clock.monotonic()
        try:
            value = read_secret(secret.file)
        except UnusableSecretFile as error:
            self._stay(variable, secret, "unreadable", f"{variable}_FILE is {str(secret.file)!r}, {error}")
            return
        if value == secret.in_use:
            self._settle(variable, secret)
            return
        KNOWN_SECRETS.add(value)
        match await secret.trial(value):
            case KeyVerdict.REFUSED:
                self._stay(variable, secret, "refused", f"the new {variable} is refused")
            case KeyVerdict.UNKNOWN:
                self._stay(variable, secret, "untried", f"the new {variable} could not be tried yet")
            case _:
                await secret.take(value)
                secret.in_use = value
                secret.taken_ms = self._clock.now_ms()
                metrics.SECRET_ROTATIONS.labels(variable, "taken").inc()
                logger.info("a secret was rotated variable=%s", variable)
                self._settle(variable, secret)

    def _settle(self, variable: str, secret: FollowedSecret) -> None:
        secret.problem = None
        metrics.SECRET_PENDING.labels(variable).set(0)

    def _stay(self, variable: str, secret: FollowedSecret, problem: str, sentence: str) -> None:
        if problem != secret.problem:
            metrics.SECRET_ROTATIONS.labels(variable, problem).inc()
        secret.problem = problem
        metrics.SECRET_PENDING.labels(variable).set(1)
        self._log.error(f"{variable} {problem}", "%s; the one before it stays in use", sentence)
