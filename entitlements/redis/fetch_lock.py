"""One fetch per entity across processes: who misses first fetches, the others wait (contract/redis.md).

Nobody waits longer than its bound, and nobody waits for who died: without Redis everybody fetches alone.
"""

import asyncio
import json
import secrets
from collections.abc import Callable

from entitlements.domain.entity import EntityKey
from entitlements.domain.ports import Clock, FetchClaim, FetchLockOutcome, Look
from entitlements.json_fields import written
from entitlements.redis.connection import UNAVAILABLE, Client, RedisConnection
from entitlements.redis.keys import KeySpace, raw
from entitlements.redis.notifications import Notifications
from entitlements.redis.scripts import Release, claim_lock, give_back

LOOK_SECONDS = 0.25
"""A waiter looks this often whether the lock still stands: its holder may have died, its message be lost."""


class FetchLock:
    """`FetchCoordinator` by a lock for each entity, in Redis."""

    def __init__(
        self,
        connection: RedisConnection,
        *,
        notifications: Notifications,
        keys: KeySpace,
        clock: Clock,
        hold_seconds: float,
    ) -> None:
        """Takes its place in Redis.

        Args:
            connection: the way there.
            notifications: what others publish on the channels of `keys`.
            keys: the names under REDIS_ENVIRONMENT_PREFIX.
            clock: for the bounds.
            hold_seconds: a lock whose holder died stands no longer; more than a fetch's budget.
        """
        self._connection = connection
        self._notifications = notifications
        self._keys = keys
        self._clock = clock
        self._hold_ms = int(hold_seconds * 1000)

    async def claim(self, key: EntityKey, *, wait_seconds: float, look: Look | None = None) -> FetchClaim:
        """This process's turn; see FetchCoordinator."""
        token = secrets.token_hex(16).encode()
        claim = FetchClaim(key=key, turn=FetchLockOutcome.UNCOORDINATED, token=token, hold_ms=self._hold_ms)
        with self._notifications.listening(self._keys.fetch_channel(key)) as announced:
            if look is not None:
                claim.found = await look(claim)
                if claim.found is not None:
                    return claim
            if claim.is_ours is None:
                await self._take(claim)
            if claim.is_ours:
                claim.turn = FetchLockOutcome.ACQUIRED
            elif claim.is_ours is not None:
                claim.token = b""
                claim.turn = await self._wait(key, announced, wait_seconds)
        return claim

    async def _take(self, claim: FetchClaim) -> None:
        lock, entity = self._keys.fetch_lock(claim.key), self._keys.entity(claim.key)
        taken = await self._connection.run(
            lambda client: claim_lock(
                client, lock, claim.token, entity_key=entity, milliseconds=claim.hold_ms
            ),
            key=lock,
        )
        if taken is not UNAVAILABLE:
            claim.is_ours, claim.is_there = taken

    async def done(self, claim: FetchClaim, *, error: str | None = None) -> None:
        """Gives the lock back and notifies the others; `error` is a short reason why there is nothing."""
        if not claim.token or claim.is_given_back:
            return
        release = release_of(self._keys, claim, error=error)
        await self._connection.run(lambda client: give_back(client, release), key=release.key)

    async def _wait(
        self, key: EntityKey, announced: "asyncio.Future[bytes]", wait_seconds: float
    ) -> FetchLockOutcome:
        deadline, lock = self._clock.monotonic() + wait_seconds, self._keys.fetch_lock(key)
        while (remaining := deadline - self._clock.monotonic()) > 0:
            done, _ = await asyncio.wait({announced}, timeout=min(remaining, LOOK_SECONDS))
            if done:
                return _outcome_from(announced.result())
            stands = await self._connection.run(_exists(lock), key=lock)
            if stands is UNAVAILABLE:
                return FetchLockOutcome.UNCOORDINATED
            if not stands:
                return FetchLockOutcome.FETCHED_ELSEWHERE
        return FetchLockOutcome.UNCOORDINATED


def release_of(keys: KeySpace, claim: FetchClaim, *, error: str | None = None) -> Release:
    """How a claim is given back; `error` is a short reason why there is nothing."""
    return Release(
        key=keys.fetch_lock(claim.key),
        token=claim.token,
        channel=keys.fetch_channel(claim.key),
        message=written({} if error is None else {"error": error}),
    )


def _exists(name: str) -> Callable[[Client], bool]:
    return lambda client: bool(client.exists(raw(name)))


def _outcome_from(message: bytes) -> FetchLockOutcome:
    """What a message means; one that makes no sense means at least that something happened."""
    try:
        document = json.loads(message)
    except (ValueError, RecursionError):
        return FetchLockOutcome.FETCHED_ELSEWHERE
    has_failed = isinstance(document, dict) and document.get("error") is not None
    return FetchLockOutcome.FAILED_ELSEWHERE if has_failed else FetchLockOutcome.FETCHED_ELSEWHERE
