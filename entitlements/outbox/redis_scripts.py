"""What an outbox in Redis does in one step each, in Lua.

KEYS are, unless said otherwise: the stream that waits, the stream of dead letters, the sum of their bytes,
and a hash beside them, `count`, that says how much there is meant to be, so that a loss shows by numbers:

    entries   how many the two streams are meant to hold
    accepted  how many ever came, which only grows: less than a process has seen is an older copy come back
    birth     a name made anew when the hash is, so that one that was lost whole is known again
    at_birth  how many entries were there then
    was       the birth whose loss was counted last: one of all processes that notice it counts it

Out of memory, Redis refuses the first command of a script that writes, and lets one go on that began with
what needs no memory: so none is half done, and what empties the outbox removes first.
"""

from dataclasses import dataclass
from typing import Any

from entitlements.domain.outbox import OutboxState

GROUP = "delivery"
RECOUNTED = 1000
"""After a loss the bytes of this number of entries are summed anew; of more they are estimated."""

_HELD = "local held = redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2])"
_FIELDS = """
local function fields_of(entry)
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  return fields
end
"""

ACCEPT = f"""
{_HELD}
local count = #ARGV - 4
if held + count > tonumber(ARGV[1]) then return {{1, '', 0}} end
local size = held > 0 and tonumber(redis.call('GET', KEYS[3]) or 0) or 0
for i = 5, #ARGV do size = size + #ARGV[i] end
if size > tonumber(ARGV[2]) then return {{2, '', 0}} end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('XGROUP', 'CREATE', KEYS[1], '{GROUP}', '0', 'MKSTREAM')
end
for i = 5, #ARGV do redis.call('XADD', KEYS[1], '*', 'write', ARGV[i], 'at', ARGV[3]) end
redis.call('SET', KEYS[3], size)
local birth = redis.call('HGET', KEYS[4], 'birth')
if not birth then
  birth = ARGV[4]
  redis.call('HSET', KEYS[4], 'birth', birth, 'at_birth', held, 'entries', held, 'accepted', 0)
end
redis.call('HINCRBY', KEYS[4], 'entries', count)
return {{0, birth, redis.call('HINCRBY', KEYS[4], 'accepted', count)}}
"""
"""ARGV: entries and bytes at most; the time; another birth; the writes.

The group is made here, because a full Redis would not let it be made when the entries are to leave. Answers
0, or which bound is passed; the birth; how many ever came."""

STATE = f"""
{_FIELDS}
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
return {{
  redis.call('XLEN', KEYS[1]), redis.call('XLEN', KEYS[2]), redis.call('GET', KEYS[3]) or '0',
  redis.call('HGET', KEYS[4], 'birth') or '', redis.call('HGET', KEYS[4], 'entries') or '0',
  redis.call('HGET', KEYS[4], 'accepted') or '0', first and fields_of(first)['at'] or ''
}}
"""
"""Writes nothing, so that a full Redis and a replica answer it."""

REPAIR = f"""
{_FIELDS}
local function size_of(key)
  local size = 0
  for _, entry in ipairs(redis.call('XRANGE', key, '-', '+', 'COUNT', {RECOUNTED})) do
    size = size + #(fields_of(entry)['write'] or '')
  end
  return size
end
{_HELD}
local birth, lost = redis.call('HGET', KEYS[4], 'birth'), 0
if not birth then
  birth = ARGV[4]
  redis.call('HSET', KEYS[4], 'birth', birth, 'at_birth', held, 'entries', held, 'accepted', 0)
end
local entries = tonumber(redis.call('HGET', KEYS[4], 'entries') or held)
local accepted = tonumber(redis.call('HGET', KEYS[4], 'accepted') or 0)
local known, seen, seen_accepted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if entries > held then lost = entries - held end
if known == birth and seen_accepted > accepted then
  lost = lost + math.min(seen_accepted - accepted, seen)
  redis.call('HSET', KEYS[4], 'accepted', seen_accepted)
elseif known ~= '' and known ~= birth and redis.call('HGET', KEYS[4], 'was') ~= known then
  lost = lost + math.max(seen - tonumber(redis.call('HGET', KEYS[4], 'at_birth') or 0), 0)
  redis.call('HSET', KEYS[4], 'was', known)
end
redis.call('HSET', KEYS[4], 'entries', held)
local size = tonumber(redis.call('GET', KEYS[3]) or 0)
if held <= {RECOUNTED} then
  size = size_of(KEYS[1]) + size_of(KEYS[2])
elseif entries > held then
  size = math.floor(size * held / entries)
end
redis.call('SET', KEYS[3], size)
return lost
"""
"""ARGV: the birth, the number of entries and of accepted ones that this process saw last; another birth.

What comes first leaves first: of an older copy that came back, those are missing that came last, but for what
had left by then. Answers how many were lost."""

IDS = """
local ids = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])) do
  ids[#ids + 1] = entry[1]
end
return ids
"""
"""KEYS: a stream. ARGV: from where, and how many. The entries themselves may be large."""

REMOVE = f"""
{_FIELDS}
local removed = 0
for i = 2, #ARGV do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  if ARGV[1] ~= '' then redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) end
  if entry and redis.call('XDEL', KEYS[1], ARGV[i]) == 1 then
    removed = removed + 1
    redis.call('INCRBY', KEYS[2], -#(fields_of(entry)['write'] or ''))
  end
end
if removed > 0 then redis.call('HINCRBY', KEYS[3], 'entries', -removed) end
return removed
"""
"""KEYS: the stream, the bytes, the count. ARGV: the group, or nothing for the dead; the ids."""

MOVE = f"""
{_FIELDS}
local moved, kept = 0, 0
for i = 6, #ARGV do
  local entry = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  local fields = entry and fields_of(entry)
  if fields and ARGV[3] ~= '' and fields['reason'] == ARGV[3] then
    kept = kept + 1
  elseif fields then
    local at = fields['at'] or '0'
    if (tonumber(at) or 0) < tonumber(ARGV[4]) then at = ARGV[5] end
    if ARGV[1] ~= '' then redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) end
    redis.call('XDEL', KEYS[1], ARGV[i])
    redis.call('XADD', KEYS[2], '*', 'write', fields['write'] or '', 'at', at, 'reason', ARGV[2])
    moved = moved + 1
  end
end
return {{moved, kept}}
"""
"""KEYS: from, to. ARGV: the group of `from`, or nothing; the reason, or nothing; a reason that has an entry
stay, or nothing; the time before which an entry is given another, and that; the ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What STATE answers: what is there, and what is meant to be."""

    waiting: int = 0
    dead: int = 0
    size_bytes: int = 0
    birth: bytes = b""
    entries: int = 0
    accepted: int = 0
    oldest_at_ms: int = 0

    @classmethod
    def from_answer(cls, answer: Any) -> "Counts":
        """From Redis' answer."""
        waiting, dead, size, birth, entries, accepted, oldest = answer
        return cls(
            waiting=waiting,
            dead=dead,
            size_bytes=max(int(size), 0),
            birth=birth,
            entries=int(entries),
            accepted=int(accepted),
            oldest_at_ms=milliseconds(oldest),
        )

    @property
    def held(self) -> int:
        """How many are there, dead letters included."""
        return self.waiting + self.dead

    def are_amiss(self, known: "Counts") -> bool:
        """True when they contradict themselves, or what this process knew of them."""
        if self.entries != self.held:
            return True
        if self.birth == known.birth:
            return self.accepted < known.accepted
        return known.birth != b""

    def state(self) -> OutboxState:
        """The same for people."""
        return OutboxState(
            waiting=self.waiting,
            dead=self.dead,
            size_bytes=self.size_bytes if self.held else 0,
            oldest_accepted_at_ms=self.oldest_at_ms if self.waiting else None,
        )


def milliseconds(text: bytes) -> int:
    """A moment as the scripts keep it; 0 where somebody else wrote it."""
    return int(text) if text.isdigit() else 0
