"""The outbox in the shared Redis: a stream with a consumer group, and a second stream of dead letters.

One process at a time delivers (a lease sees to that), so it takes over whatever another left unsettled.
"""

import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

from redis import Redis
from redis.exceptions import ResponseError

from entitlements.domain.errors import OutboxUnavailable, Overloaded
from entitlements.domain.outbox import (
    KEY_MEMORY_MS,
    TOO_OLD,
    DeadLetter,
    OutboxEntry,
    OutboxLimits,
    OutboxState,
    Replayed,
    Write,
)
from entitlements.domain.ports import Clock
from entitlements.outbox.codec import UNREADABLE, Unreadable, decode, encode
from entitlements.outbox.redis_scripts import (
    ACCEPT,
    GROUP,
    IDS,
    MOVE,
    REMOVE,
    REPAIR,
    STATE,
    Counts,
    milliseconds,
)
from entitlements.redis.connection import UNAVAILABLE, RedisConnection
from entitlements.redis.examination import outbox_probes, refused_of
from entitlements.redis.keys import raw
from entitlements.redis.nodes import node_of

CONSUMER = "holder"
"""One name for whoever holds the lease: it finds what the last holder left."""
DEAD_ID = "dead-"
"""Before the ids of dead letters, for people: in its own stream one may have the id of one that waits."""
PAGE = 200
"""So many entries are replayed or discarded in one call."""
ACCEPTED, FULL_ENTRIES, FULL_BYTES = 0, 1, 2

_STREAM_ID = re.compile(r"[0-9]{1,18}(-[0-9]{1,18})?")
_Answer = TypeVar("_Answer")
_Arguments: TypeAlias = tuple[str | bytes | int, ...]


class RedisStreamOutbox:
    """An `Outbox` that all processes of one prefix share."""

    def __init__(self, redis: RedisConnection, *, name: str, limits: OutboxLimits, clock: Clock) -> None:
        """Takes part.

        Args:
            redis: the way to Redis.
            name: the stream's key; its companions' names begin with it.
            limits: how much is kept.
            clock: for when writes were accepted.
        """
        self._redis = redis
        self._waiting = name
        self._dead = f"{name}:dead"
        self._bytes = f"{name}:bytes"
        self._count = f"{name}:count"
        self._known = Counts()
        self._losses = 0
        self._is_proven = False
        self._limits = limits
        self._clock = clock

    async def accept(self, writes: Sequence[Write]) -> None:
        """Keeps all of them, or none, in one step."""
        await self._prove()
        limits = (self._limits.max_entries, self._limits.max_bytes)
        texts = [encode(write) for write in writes]
        arguments: _Arguments = (*limits, self._clock.now_ms(), secrets.token_hex(4), *texts)
        answer: Any = await self._run(lambda client: client.eval(ACCEPT, 4, *self._keys, *arguments))
        outcome, birth, accepted = answer
        if outcome == FULL_ENTRIES:
            raise Overloaded("SIDECAR_OUTBOX_MAX_ENTRIES")
        if outcome == FULL_BYTES:
            raise Overloaded("SIDECAR_OUTBOX_MAX_BYTES")
        known = self._known
        if birth == known.birth and accepted > known.accepted:
            waiting = known.waiting + accepted - known.accepted
            self._known = replace(known, waiting=waiting, accepted=accepted)

    async def oldest(self, count: int) -> Sequence[OutboxEntry]:
        """What was taken and not settled comes before what is new, so that the order is kept."""
        entries = []
        for id_, fields in await self._run(lambda client: self._taken(client, count)):
            try:
                entries.append(_entry(id_, fields))
            except Unreadable:
                await self._move_to_dead(id_.decode(), UNREADABLE)
        return entries

    async def settle(self, entries: Sequence[OutboxEntry]) -> None:
        """Removes what was delivered."""
        await self._remove(self._waiting, GROUP, [entry.id for entry in entries])

    async def bury(self, entry: OutboxEntry, *, reason: str) -> None:
        """Moves an entry to the dead letters."""
        await self._move_to_dead(entry.id, reason)

    async def waiting(self, count: int) -> Sequence[OutboxEntry]:
        """The entries that wait longest; the group does not notice."""
        found: Any = await self._run(lambda client: client.xrange(self._waiting, count=count))
        return [_entry(id_, fields) for id_, fields in found if _is_readable(fields)]

    async def dead_letters(self, count: int) -> Sequence[DeadLetter]:
        """The oldest dead letters that can be read."""
        found: Any = await self._run(lambda client: client.xrange(self._dead, count=count))
        return [
            DeadLetter(
                entry=_entry(DEAD_ID.encode() + id_, fields),
                reason=fields.get(b"reason", b"").decode(errors="replace"),
            )
            for id_, fields in found
            if _is_readable(fields)
        ]

    async def replay(self, ids: Sequence[str] | None = None, *, even_too_old: bool = False) -> Replayed:
        """Has dead letters wait again, behind the others."""
        now_ms = self._clock.now_ms()
        how: _Arguments = ("", "", "" if even_too_old else TOO_OLD, now_ms - KEY_MEMORY_MS, now_ms)
        count = kept = 0
        named = None if ids is None else _named(id_.removeprefix(DEAD_ID) for id_ in ids)
        async for page in self._pages(self._dead, named):
            replayed = await self._move(self._dead, self._waiting, how, page)
            count, kept = count + replayed.count, kept + replayed.kept
        return Replayed(count=count, kept=kept)

    async def discard(self, ids: Sequence[str] | None = None, *, waiting: bool = False) -> int:
        """Removes what is named for good, or all dead letters, with `waiting` what waits as well."""
        dead = None if ids is None else _named(i.removeprefix(DEAD_ID) for i in ids if i.startswith(DEAD_ID))
        waits = None if ids is None else _named(ids)
        discarded = 0
        async for page in self._pages(self._dead, dead):
            discarded += await self._remove(self._dead, "", page)
        if waiting or ids is not None:
            async for page in self._pages(self._waiting, waits):
                discarded += await self._remove(self._waiting, GROUP, page)
        return discarded

    async def state(self) -> OutboxState:
        """How full it is; what was evicted, or is gone with a restart, is noted as lost."""
        await self._prove()
        found = await self._counts()
        if found.are_amiss(self._known):
            repaired = await self._repair()
            if repaired is None:  # Redis is full, and what is here leaves all the same; it is counted later
                return found.state()
            self._losses += repaired
            found = await self._counts()
        self._known = found
        return found.state()

    def taken_losses(self) -> int:
        """The number of entries found to be lost since this was called last."""
        taken, self._losses = self._losses, 0
        return taken

    async def stop(self) -> None:
        """Nothing is open here: the connection is another's."""

    @property
    def _keys(self) -> tuple[str, str, str, str]:
        return self._waiting, self._dead, self._bytes, self._count

    async def _run(self, work: Callable[[Redis], _Answer]) -> _Answer:
        answer = await self._redis.run(work, key=self._waiting)
        if answer is UNAVAILABLE:
            self._is_proven = False  # what answers next may be another Redis, or allow less
            raise OutboxUnavailable
        return answer

    async def _prove(self) -> None:
        """Nothing is promised where what delivers it is refused; raises OutboxUnavailable.

        What is refused is shown by the examination of that Redis, which tries the same.
        """
        if self._is_proven:
            return
        if await self._run(self._refused):
            raise OutboxUnavailable
        self._is_proven = True

    def _refused(self, client: Redis) -> tuple[str, ...]:
        return refused_of(node_of(client, raw(self._waiting)), outbox_probes(self._waiting))

    async def _counts(self) -> Counts:
        return Counts.from_answer(await self._run(lambda client: client.eval(STATE, 4, *self._keys)))

    async def _repair(self) -> int | None:
        """Puts the counts right; how many entries were lost, and None when that cannot be done now."""
        known = self._known
        arguments: _Arguments = (known.birth, known.held, known.accepted, secrets.token_hex(4))
        answer: Any = await self._redis.run(
            lambda client: client.eval(REPAIR, 4, *self._keys, *arguments), key=self._waiting
        )
        return None if answer is UNAVAILABLE else int(answer)

    def _taken(self, client: Redis, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        try:
            return self._take(client, count)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
        client.xgroup_create(self._waiting, GROUP, id="0", mkstream=True)
        return self._take(client, count)

    def _take(self, client: Redis, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """All take under one name: what another left unsettled is ours, and need not be claimed.

        To claim (XAUTOCLAIM) is what only Redis 6.2 and newer can.
        """
        own: Any = client.xreadgroup(GROUP, CONSUMER, {self._waiting: "0"}, count=count)
        taken = []
        for id_, fields in own[0][1] if own else []:
            if fields:
                taken.append((id_, fields))
            else:  # somebody else removed it behind the group's back
                client.xack(self._waiting, GROUP, id_)
        if len(taken) < count:
            new: Any = client.xreadgroup(GROUP, CONSUMER, {self._waiting: ">"}, count=count - len(taken))
            taken += new[0][1] if new else []
        return taken

    async def _pages(self, stream: str, ids: Sequence[str] | None) -> AsyncIterator[Sequence[str]]:
        """The ids, or as many as the stream has now, a page at a time: no call takes long, and it ends."""
        if ids is not None:
            for at in range(0, len(ids), PAGE):
                yield ids[at : at + PAGE]
            return
        left: Any = await self._run(lambda client: client.xlen(stream))
        start = "-"
        while left > 0:
            where = (stream, start, min(PAGE, left))
            found: Any = await self._run(partial(_ids, where))
            if not found:
                return
            yield [id_.decode() for id_ in found]
            left -= len(found)
            moment, _, number = found[-1].decode().partition("-")
            start = f"{moment}-{int(number) + 1}"

    async def _remove(self, stream: str, group: str, ids: Sequence[str]) -> int:
        removed: Any = await self._run(
            lambda client: client.eval(REMOVE, 3, stream, self._bytes, self._count, group, *ids)
        )
        self._known = replace(self._known, waiting=max(self._known.waiting - int(removed), 0))
        return int(removed)

    async def _move_to_dead(self, id_: str, reason: str) -> None:
        await self._move(self._waiting, self._dead, (GROUP, reason, "", 0, 0), [id_])

    async def _move(self, source: str, target: str, how: _Arguments, ids: Sequence[str]) -> Replayed:
        answer: Any = await self._run(lambda client: client.eval(MOVE, 2, source, target, *how, *ids))
        return Replayed(count=answer[0], kept=answer[1])


def _ids(where: tuple[str, str, int], client: Redis) -> object:
    return client.eval(IDS, 1, *where)


def _entry(id_: bytes, fields: dict[bytes, bytes]) -> OutboxEntry:
    text = fields.get(b"write", b"")
    return OutboxEntry(
        id=id_.decode(), write=decode(text), accepted_at_ms=_accepted_at(fields), size_bytes=len(text)
    )


def _accepted_at(fields: dict[bytes, bytes]) -> int:
    return milliseconds(fields.get(b"at", b""))


def _named(ids: Iterable[str]) -> list[str]:
    """Those that can be in a stream: Redis refuses a call for the sake of one that cannot."""
    return [id_ for id_ in ids if _STREAM_ID.fullmatch(id_)]


def _is_readable(fields: dict[bytes, bytes]) -> bool:
    try:
        decode(fields.get(b"write", b""))
    except Unreadable:
        return False
    return True
