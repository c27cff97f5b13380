"""Who follows the feed for all: one process at a time holds the lease; when it dies another takes over.

The lease's value says who that is and, for those who follow through Redis, since when every change is there.
"""

import secrets
from dataclasses import dataclass

from entitlements.domain.membership import LeaderState, LeaseStatus
from entitlements.domain.ports import Clock
from entitlements.json_fields import Fields, Malformed, parsed, written
from entitlements.redis.connection import UNAVAILABLE, RedisConnection
from entitlements.redis.lease_scripts import HeldLease, hold_lease, release_lease

LEASE_SECONDS = 6.0
"""A holder that died holds no longer: with `RENEW_SECONDS` the next one has it within 10 s."""
RENEW_SECONDS = 1.0
"""So often everybody tries: the holder to keep it, the others to get it, and to see that it is renewed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseState:
    """What the lease says, for people."""

    holder: str
    age_seconds: float
    """Since it was taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseReading:
    """What came of asking for it."""

    status: LeaseStatus
    leader: LeaderState | None = None
    """What its value says to those who follow; None where it is not understood, or nobody said it."""
    state: LeaseState | None = None
    """The same for people."""


class Lease:
    """One lease in Redis; call `try_hold`, or `ask`, every `RENEW_SECONDS`."""

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
        self._token = ""
        self._taken_ms = 0
        self.held_until = float("-inf")
        """No other process can have it before (monotonic seconds)."""

    @property
    def is_held(self) -> bool:
        """True while no other process can have it; a process that was stopped for long finds it lost."""
        return self._clock.monotonic() < self.held_until

    async def try_hold(self) -> LeaseStatus:
        """Renews the lease, or takes it when nobody has it."""
        return (await self.ask()).status

    async def ask(self, epoch: float | None = None) -> LeaseReading:
        """Renews the lease, or takes it when nobody has it, or reads what its holder says.

        Args:
            epoch: where this process leads: since when every change is in Redis (monotonic seconds).
        """
        asked_at = self._clock.monotonic()
        token = self._token or self._new_token()
        head = written({"holder": self._holder, "since": self._taken_ms, "token": token, "epoch": epoch})
        kept_ms = None if epoch is None else round(max(0.0, asked_at - epoch) * 1000)
        held = await self._connection.run(
            lambda client: hold_lease(
                client,
                self._name,
                token=token,
                head=head,
                kept_ms=kept_ms,
                milliseconds=int(LEASE_SECONDS * 1000),
            ),
            key=self._name,
        )
        if held is UNAVAILABLE:
            return LeaseReading(status=LeaseStatus.OURS if self.is_held else LeaseStatus.UNKNOWN)
        if held.is_own:
            self._token, self.held_until = token, asked_at + LEASE_SECONDS
        else:
            self._forget()
        return self._reading(held)

    async def release(self) -> None:
        """Gives the lease back, so that the next one need not wait; nothing happens when it is another's."""
        token = self._token
        self._forget()
        if token:
            await self._connection.run(
                lambda client: release_lease(client, self._name, token), key=self._name
            )

    def _reading(self, held: HeldLease) -> LeaseReading:
        status = LeaseStatus.OURS if held.is_own else LeaseStatus.OTHERS
        try:
            fields = parsed(held.value, "lease")
            since_ms = fields.moment("since") or 0
            age_seconds = max(0, self._clock.now_ms() - since_ms) / 1000
            state = LeaseState(holder=fields.required_text("holder"), age_seconds=age_seconds)
            return LeaseReading(status=status, leader=self._leader(fields, held), state=state)
        except Malformed:
            return LeaseReading(status=status)

    def _leader(self, fields: Fields, held: HeldLease) -> LeaderState:
        """By this process's clock: Redis' own says how long ago each was, and its answer took no time."""
        now = self._clock.monotonic()
        complete_ms = fields.moment("completeSince")
        age_ms = None if complete_ms is None else max(0, held.now_ms - complete_ms)
        return LeaderState(
            token=fields.required_text("token"),
            epoch=fields.number("epoch"),
            complete_since=None if age_ms is None else now - age_ms / 1000,
            renewed_at=now - max(0.0, LEASE_SECONDS - held.lives_ms / 1000),
        )

    def _new_token(self) -> str:
        self._taken_ms = self._clock.now_ms()
        return secrets.token_hex(16)

    def _forget(self) -> None:
        self._token = ""
        self.held_until = float("-inf")
