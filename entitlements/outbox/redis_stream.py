"""The outbox in the shared Redis: a stream with a consumer group, and a second stream of dead letters.

One process at a time delivers (a lease sees to that), so it takes over whatever another left unsettled.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import ResponseError

from entitlements.domain.errors import OutboxUnavailable, Overloaded
from entitlements.domain.outbox import DeadLetter, OutboxEntry, OutboxLimits, OutboxState, Write
from entitlements.domain.ports import Clock
from entitlements.outbox.codec import Unreadable, decode, encode
from entitlements.redis.connection import UNAVAILABLE, RedisConnection

GROUP = "delivery"
CONSUMER = "holder"
"""One name for whoever holds the lease: it finds what the last holder left."""
UNREADABLE = "it could not be read"
ACCEPTED, FULL_ENTRIES, FULL_BYTES = 0, 1, 2

# KEYS: waiting, dead, bytes. Out of memory, Redis refuses the first command that writes: none is half done.
# The group is made here, because a full Redis would not let it be made when the entries are to leave.
_ACCEPT = f"""
if redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2]) + #ARGV - 3 > tonumber(ARGV[1]) then return 1 end
local size = 0
for i = 4, #ARGV do size = size + #ARGV[i] end
if tonumber(redis.call('GET', KEYS[3]) or 0) + size > tonumber(ARGV[2]) then return 2 end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('XGROUP', 'CREATE', KEYS[1], '{GROUP}', '0', 'MKSTREAM')
end
for i = 4, #ARGV do redis.call('XADD', KEYS[1], '*', 'write', ARGV[i], 'at', ARGV[3]) end
redis.call('INCRBY', KEYS[3], size)
return 0
"""
# KEYS: the stream, bytes. ARGV: the group, or nothing for the dead; the ids.
_REMOVE = """
local removed = 0
for i = 2, #ARGV do
  local found = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])
  if ARGV[1] ~= '' then redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) end
  if found[1] and redis.call('XDEL', KEYS[1], ARGV[i]) == 1 then
    removed = removed + 1
    local fields = found[1][2]
    for at = 1, #fields, 2 do
      if fields[at] == 'write' then redis.call('DECRBY', KEYS[2], #fields[at + 1]) end
    end
  end
end
return removed
"""
# Removes first: a full Redis lets a script go on writing that has begun with what needs no memory.
# KEYS: from, to. ARGV: the group of `from`, or nothing; the reason, or nothing; the ids.
_MOVE = """
local moved = 0
for i = 3, #ARGV do
  local found = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])
  if found[1] then
    local write, at = '', '0'
    local fields = found[1][2]
    for f = 1, #fields, 2 do
      if fields[f] == 'write' then write = fields[f + 1] elseif fields[f] == 'at' then at = fields[f + 1] end
    end
    if ARGV[1] ~= '' then redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) end
    redis.call('XDEL', KEYS[1], ARGV[i])
    redis.call('XADD', KEYS[2], '*', 'write', write, 'at', at, 'reason', ARGV[2])
    moved = moved + 1
  end
end
return moved
"""

_Answer = TypeVar("_Answer")


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
        self._limits = limits
        self._clock = clock

    async def accept(self, writes: Sequence[Write]) -> None:
        """Keeps all of them, or none, in one step."""
        keys = (self._waiting, self._dead, self._bytes)
        limits = (self._limits.max_entries, self._limits.max_bytes, self._clock.now_ms())
        texts = [encode(write) for write in writes]
        outcome: Any = await self._run(lambda client: client.eval(_ACCEPT, len(keys), *keys, *limits, *texts))
        if outcome == FULL_ENTRIES:
            raise Overloaded("SIDECAR_OUTBOX_MAX_ENTRIES")
        if outcome == FULL_BYTES:
            raise Overloaded("SIDECAR_OUTBOX_MAX_BYTES")

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
            DeadLetter(entry=_entry(id_, fields), reason=fields.get(b"reason", b"").decode(errors="replace"))
            for id_, fields in found
            if _is_readable(fields)
        ]

    async def replay(self, ids: Sequence[str] | None = None) -> int:
        """Has dead letters wait again, behind the others."""
        named = await self._all_dead() if ids is None else ids
        return await self._move(self._dead, self._waiting, "", "", named)

    async def discard(self, ids: Sequence[str] | None = None) -> int:
        """Removes dead letters for good."""
        return await self._remove(self._dead, "", await self._all_dead() if ids is None else ids)

    async def state(self) -> OutboxState:
        """How full it is."""
        return await self._run(self._state)

    async def stop(self) -> None:
        """Nothing is open here: the connection is another's."""

    async def _run(self, work: Callable[[Redis], _Answer]) -> _Answer:
        answer = await self._redis.run(work)
        if answer is UNAVAILABLE:
            raise OutboxUnavailable
        return answer

    def _taken(self, client: Redis, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        try:
            return self._take(client, count)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
        client.xgroup_create(self._waiting, GROUP, id="0", mkstream=True)
        return self._take(client, count)

    def _take(self, client: Redis, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        claimed: Any = client.xautoclaim(self._waiting, GROUP, CONSUMER, 0, "0-0", count=count)
        taken = [(id_, fields) for id_, fields in claimed[1] if fields]
        if len(taken) < count:
            new: Any = client.xreadgroup(GROUP, CONSUMER, {self._waiting: ">"}, count=count - len(taken))
            taken += new[0][1] if new else []
        return taken

    async def _all_dead(self) -> list[str]:
        found: Any = await self._run(lambda client: client.xrange(self._dead))
        return [id_.decode() for id_, _ in found]

    async def _remove(self, stream: str, group: str, ids: Sequence[str]) -> int:
        removed: Any = await self._run(
            lambda client: client.eval(_REMOVE, 2, stream, self._bytes, group, *ids)
        )
        return int(removed)

    async def _move_to_dead(self, id_: str, reason: str) -> None:
        await self._move(self._waiting, self._dead, GROUP, reason, [id_])

    async def _move(self, source: str, target: str, group: str, reason: str, ids: Sequence[str]) -> int:
        moved: Any = await self._run(
            lambda client: client.eval(_MOVE, 2, source, target, group, reason, *ids)
        )
        return int(moved)

    def _state(self, client: Redis) -> OutboxState:
        pipeline: Any = client.pipeline(transaction=False)  # a full Redis refuses MULTI
        pipeline.xlen(self._waiting)
        pipeline.xlen(self._dead)
        pipeline.get(self._bytes)
        pipeline.xrange(self._waiting, count=1)
        waiting, dead, size, oldest = pipeline.execute()
        return OutboxState(
            waiting=waiting,
            dead=dead,
            size_bytes=int(size or 0),
            oldest_accepted_at_ms=_accepted_at(oldest[0][1]) if oldest else None,
        )


def _entry(id_: bytes, fields: dict[bytes, bytes]) -> OutboxEntry:
    text = fields.get(b"write", b"")
    return OutboxEntry(
        id=id_.decode(), write=decode(text), accepted_at_ms=_accepted_at(fields), size_bytes=len(text)
    )


def _accepted_at(fields: dict[bytes, bytes]) -> int:
    text = fields.get(b"at", b"")
    return int(text) if text.isdigit() else 0


def _is_readable(fields: dict[bytes, bytes]) -> bool:
    try:
        decode(fields.get(b"write", b""))
    except Unreadable:
        return False
    return True
