"""Who follows the feed for all: one process at a time holds the lease; when it dies another takes over."""

import enum
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from entitlements.domain.ports import Clock
from entitlements.json_fields import Malformed, parsed, written
from entitlements.redis.connection import UNAVAILABLE, Client, RedisConnection
from entitlements.redis.keys import raw
from entitlements.redis.scripts import delete_if_own, renew_if_own

LEASE_SECONDS = 6.0
"""A holder that died holds no longer: with `RENEW_SECONDS` the next one has it within 10 s."""
RENEW_SECONDS = 2.0
"""So often everybody tries: the holder to keep it, the others to get it."""


class LeaseStatus(enum.Enum):
    """Who has the lease."""

    OURS = "ours"
    """This process, until `LEASE_SECONDS` after it last asked."""
    OTHERS = "others"
    """Another process."""
    UNKNOWN = "unknown"
    """Redis does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseState:
    """What the lease says, for people."""

    holder: str
    age_seconds: float
    """Since it was taken."""


class Lease:
    """One lease in Redis; call `try_hold` every `RENEW_SECONDS`."""

    def __init__(self, connection: RedisConnection, *, name: str, holder: str, clock: Clock) -> None:
        """Takes part.

        Args:
            connection: the way to Redis.
            name: the lease's key.
            holder: this process for people, such as host and process id.
            clock: for how long it holds.
        """
        self._connection = connection
        self._name = name
        self._holder = holder
        self._clock = clock
        self._token = b""
        self._held_until = float("-inf")

    @property
    def is_held(self) -> bool:
        """True while no other process can have it; a process that was stopped for long finds it lost."""
        return self._clock.monotonic() < self._held_until

    async def try_hold(self) -> LeaseStatus:
        """Renews the lease, or takes it when nobody has it."""
        asked_at = self._clock.monotonic()
        token = self._token or self._new_token()
        held = await self._connection.run(lambda client: self._renew_or_take(client, token), key=self._name)
        if held is UNAVAILABLE:
            return LeaseStatus.OURS if self.is_held else LeaseStatus.UNKNOWN
        if not held:
            self._forget()
            return LeaseStatus.OTHERS
        self._token = token
        self._held_until = asked_at + LEASE_SECONDS
        return LeaseStatus.OURS

    async def release(self) -> None:
        """Gives the lease back, so that the next one need not wait; nothing happens when it is another's."""
        token = self._token
        self._forget()
        if token:
            await self._connection.run(
                lambda client: delete_if_own(client, self._name, token), key=self._name
            )

    async def state(self) -> LeaseState | None:
        """Who holds it and since when; None when nobody does or Redis does not say."""
        try:
            state = await self._connection.run(_read(self._name), key=self._name)
        except Malformed:
            return None
        if state is UNAVAILABLE or state is None:
            return None
        holder, since_ms = state
        return LeaseState(holder=holder, age_seconds=max(0, self._clock.now_ms() - since_ms) / 1000)

    def _renew_or_take(self, client: Client, token: bytes) -> bool:
        milliseconds = int(LEASE_SECONDS * 1000)
        if renew_if_own(client, self._name, token, milliseconds=milliseconds):
            return True
        return bool(client.set(raw(self._name), token, nx=True, px=milliseconds))

    def _new_token(self) -> bytes:
        return written(
            {"holder": self._holder, "since": self._clock.now_ms(), "token": secrets.token_hex(16)}
        )

    def _forget(self) -> None:
        self._token = b""
        self._held_until = float("-inf")


def _read(name: str) -> Callable[[Client], tuple[str, int] | None]:
    def read(client: Client) -> tuple[str, int] | None:
        text = client.get(raw(name))
        if not isinstance(text, bytes):
            return None
        fields = parsed(text, "lease")
        return fields.required_text("holder"), fields.moment("since") or 0

    return read
