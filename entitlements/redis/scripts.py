"""What Redis does in one step: a value and its timestamp change together, also against other writers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from redis.exceptions import NoPermissionError, NoScriptError

from entitlements.domain.moments import LATEST_MS
from entitlements.redis.connection import Client
from entitlements.redis.keys import raw, timestamp_of

_PUT = """
local ttl = tonumber(ARGV[1])
local function put(key, value)
  if ttl > 0 then redis.call('SET', key, value, 'PX', ttl) else redis.call('SET', key, value) end
end
"""

FUTURE_MS = 300_000
"""A usage's stamp further ahead of Redis' clock than this keeps nothing out: its clock was wrong."""

_READ = """
local token = ARGV[1]
local values = redis.call('MGET', unpack(KEYS, 1, token and #KEYS - 1 or #KEYS))
local taken = -1
if token and not (values[1] and values[2]) then
  local set = redis.pcall('SET', KEYS[#KEYS], token, 'NX', 'PX', ARGV[2])
  if type(set) ~= 'table' or not set['err'] then
    taken = (set or redis.call('MGET', KEYS[#KEYS])[1] == token) and 1 or 0
  end
end
return {redis.call('TIME'), redis.call('PTTL', KEYS[1]), redis.call('PTTL', KEYS[3]), values, taken}
"""
# Where an entity or its timestamp is not there, its lock is taken along with the look. A Redis that takes no
# writes answers the look all the same.

_WRITE_NEWEST = f"""{_PUT}
local function stamp_in(text)
  return text and #text <= 15 and string.match(text, '^%d+$') and tonumber(text)
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ttl > 0 then ttl = math.max(ttl - math.max(now - tonumber(ARGV[2]), 0), 1) end
local function stamp_of(held)
  return held[1] and stamp_in(held[2])
end
local known_at = tonumber(ARGV[3])
local writes = 2 * ARGV[4]
local rest = 4 + writes
local first_document = known_at and writes - 3 or writes + 1
local settled
if ARGV[rest + 1] ~= '' then
  local customer, stamp_key = KEYS[writes + 1], KEYS[writes + 2]
  local stamp = stamp_in(redis.call('MGET', stamp_key)[1])
  if not stamp or stamp > {LATEST_MS} then
    redis.call('DEL', customer)
    local customer_ttl = tonumber(ARGV[rest + 1])
    if customer_ttl > 0 then redis.call('SET', stamp_key, '0', 'PX', customer_ttl)
    else redis.call('SET', stamp_key, '0') end
  elseif stamp > tonumber(ARGV[rest]) then
    settled = string.format('{{"customerTimestamp":%.0f,', stamp)
  end
end
local is_overtaken = false
if known_at and stamp_of(redis.call('MGET', KEYS[writes - 1], KEYS[writes])) then
  local text = redis.call('MGET', KEYS[first_document])[1]
  local is_json, held = pcall(cjson.decode, text or '')
  local held_known_at = is_json and type(held) == 'table' and held['toldAt']
  is_overtaken = type(held_known_at) == 'number' and held_known_at > known_at and held_known_at <= now
end
local written = 0
for i = 1, writes, 2 do
  local arrived = ARGV[i + 5]
  local held = stamp_of(redis.call('MGET', KEYS[i], KEYS[i + 1]))
  local goes_in
  if i >= first_document then
    goes_in = not is_overtaken
    if held and arrived ~= '0' and held > tonumber(arrived) then arrived = string.format('%.0f', held) end
  else
    goes_in = arrived == '0' or not held or tonumber(arrived) >= held or held > now + {FUTURE_MS}
  end
  if goes_in then
    local value = ARGV[i + 4]
    if settled and i == first_document then value = settled .. string.sub(value, 2) end
    put(KEYS[i], value)
    put(KEYS[i + 1], arrived)
    written = written + 1
  end
end
local token = ARGV[rest + 2]
if token ~= '' and redis.call('MGET', KEYS[#KEYS])[1] == token then
  redis.call('DEL', KEYS[#KEYS])
  redis.call('PUBLISH', ARGV[rest + 3], ARGV[rest + 4])
end
return {{written, now}}
"""
# A set of entitlements goes in unless one of ours was known later: stamps cannot order sets. Its stamp is not
# older than the held one, so that official writers and readers, who know stamps only, take it for the newer.
# A write that arrives late (Redis stood still, packets were sent again) lives the shorter for it: from how
# long a key still lives others know when the cloud was asked, and must not take that for later than it was.
# A timestamp without its value, or one that is no number, protects nothing: it is overwritten.
# A resource's metadata say which timestamp of its customer is known, where that is newer than its own; a
# customer without a usable one gets the timestamp "none", without a value, which is a miss without one.

_REPLACE_USAGE = f"""{_PUT}
local held = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3])
if not held[1] or (held[2] or '') ~= ARGV[2] or (held[3] or '') ~= ARGV[3] then return 0 end
put(KEYS[2], ARGV[4])
put(KEYS[3], ARGV[5])
return 1
"""

_CLAIM = """
local is_ours = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
  or redis.call('MGET', KEYS[1])[1] == ARGV[1]
return {is_ours and 1 or 0, redis.call('EXISTS', KEYS[2])}
"""
# It is ours already where the answer to the first try got lost.

_GIVE_BACK = """
if redis.call('MGET', KEYS[1])[1] ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return redis.call('PUBLISH', ARGV[2], ARGV[3])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A value and the timestamp of the change that made it."""

    key: str
    value: bytes
    timestamp_ms: int


def encode_timestamp(timestamp_ms: int) -> bytes:
    """Epoch milliseconds as a decimal string."""
    return str(timestamp_ms).encode()


def run_script(client: Client, script: str, keys: Sequence[bytes], arguments: Sequence[bytes | int]) -> Any:
    """What the script answers: by its digest where Redis knows it, else by its text, which Redis then keeps.

    So a user that may EVAL alone is enough; redis-py's own way loads it by SCRIPT LOAD.
    """
    digest = _digest(script)
    try:
        return client.evalsha(digest, len(keys), *keys, *arguments)
    except (NoScriptError, NoPermissionError):
        return client.eval(script, len(keys), *keys, *arguments)


@cache
def _digest(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


class Read(NamedTuple):
    """What stands in Redis at one moment."""

    now_ms: int
    """That moment, by Redis' own clock."""
    lives_ms: int
    """How long the first of the keys still lives; negative: for ever, or it is not there."""
    third_lives_ms: int
    """The same of the third."""
    values: list[bytes | None]
    """Under each key; None also for what is no string."""
    is_locked: bool | None
    """True where the lock was taken, False where another has it, None where it was not asked for."""


Lock: TypeAlias = tuple[str, bytes, int]
"""Its key, whose it is, and for how many milliseconds."""


def read(client: Client, names: Sequence[str], *, lock: Lock | None = None) -> Read:
    """What stands under these names, three or more; where one of the first two does not, it is locked."""
    keys, arguments = [raw(name) for name in names], lock[1:] if lock else ()
    if lock is not None:
        keys.append(raw(lock[0]))
    (seconds, micros), first, third, values, taken = run_script(client, _READ, keys, arguments)
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    return Read(now_ms, int(first), int(third), values, None if taken < 0 else bool(taken))


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A lock that is given back with a write, if it still is the writer's."""

    key: str
    token: bytes
    channel: str
    """Where that is announced."""
    message: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The customer whose resource a whole entity is about."""

    key: str
    ttl_seconds: int
    """How long a timestamp lives that it gets because it has none."""


class Written(NamedTuple):
    """What became of writes."""

    writes: int
    """How many went in."""
    now_ms: int
    """When, by Redis' own clock."""


def write_newest(  # noqa: PLR0913 - each is one argument of the script
    client: Client,
    writes: Sequence[Write],
    *,
    ttl_seconds: float,
    sent_at_redis_ms: int,
    known_at_ms: int | None = None,
    customer: Settled | None = None,
    release: Release | None = None,
) -> Written:
    """Writes each that is not older than what is held (contract/redis.md, Rules).

    Args:
        client: the way to Redis.
        writes: values with their timestamps.
        ttl_seconds: how long they live from when they were sent; 0 or less: for ever.
        sent_at_redis_ms: the time by Redis' clock before `ttl_seconds` was reckoned.
        known_at_ms: for a whole entity, whose last two writes are its metadata and its entitlements: when the
            cloud was asked for it or sent it, by Redis' clock.
        customer: for a whole resource: its customer, whose timestamp its metadata then hold.
        release: what is given back afterwards, whatever went in.
    """
    keys: list[bytes] = []
    arguments: list[bytes | int] = [_milliseconds(ttl_seconds), sent_at_redis_ms]
    arguments += [b"" if known_at_ms is None else known_at_ms, len(writes)]
    for write in writes:
        keys += [raw(write.key), raw(timestamp_of(write.key))]
        arguments += [write.value, encode_timestamp(write.timestamp_ms)]
    arguments.append(b"" if customer is None else _milliseconds(customer.ttl_seconds))
    if customer is not None:
        keys += [raw(customer.key), raw(timestamp_of(customer.key))]
    if release is None:
        arguments.append(b"")
    else:
        keys.append(raw(release.key))
        arguments += [release.token, raw(release.channel), release.message]
    return Written(*run_script(client, _WRITE_NEWEST, keys, arguments))


def replace_usage(
    client: Client, *, entity_key: str, held: Sequence[bytes | None], write: Write, ttl_seconds: int
) -> bool:
    """Writes a usage if the entity is there and the usage and its timestamp are still what was `held`."""
    keys = [raw(entity_key), raw(write.key), raw(timestamp_of(write.key))]
    arguments: list[bytes | int] = [
        _milliseconds(ttl_seconds),
        *(each or b"" for each in held),
        write.value,
        encode_timestamp(write.timestamp_ms),
    ]
    return bool(run_script(client, _REPLACE_USAGE, keys, arguments))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


class Claimed(NamedTuple):
    """What became of a claim."""

    is_ours: bool
    """Nobody else has the lock."""
    is_there: bool
    """What it is about stands there."""


def claim_lock(client: Client, lock: str, token: bytes, *, entity_key: str, milliseconds: int) -> Claimed:
    """Takes the lock unless somebody has it, and looks in the same step whether the entity is there."""
    claimed = run_script(client, _CLAIM, [raw(lock), raw(entity_key)], [token, milliseconds])
    return Claimed(*map(bool, claimed))


def give_back(client: Client, release: Release) -> None:
    """Deletes a lock that is still ours, and publishes that; nothing when it is not any more."""
    run_script(client, _GIVE_BACK, [raw(release.key)], [release.token, raw(release.channel), release.message])
