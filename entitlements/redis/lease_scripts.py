"""A lease in one step: whoever has its token renews it, the others read what its holder says."""

from typing import NamedTuple

from entitlements.redis.connection import Client
from entitlements.redis.keys import raw
from entitlements.redis.scripts import run_script

_HOLD_LEASE = """
local held = redis.call('MGET', KEYS[1])[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local is_json, fields = pcall(cjson.decode, held or '')
local is_own = is_json and type(fields) == 'table' and fields['token'] == ARGV[1]
if not held or is_own then
  local said = ''
  if ARGV[3] ~= '' then said = string.format(',"completeSince":%.0f', now - ARGV[3]) end
  local value = string.sub(ARGV[2], 1, -2) .. said .. '}'
  local taken
  if is_own then taken = redis.call('SET', KEYS[1], value, 'PX', ARGV[4])
  else taken = redis.call('SET', KEYS[1], value, 'PX', ARGV[4], 'NX') end
  if taken then return {1, now, tonumber(ARGV[4]), value} end
end
return {0, now, redis.call('PTTL', KEYS[1]), held or ''}
"""
# By its token alone it is known whose it is: the rest of its value changes.

_RELEASE_LEASE = """
local is_json, fields = pcall(cjson.decode, redis.call('MGET', KEYS[1])[1] or '')
if not is_json or type(fields) ~= 'table' or fields['token'] ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class HeldLease(NamedTuple):
    """A lease after it was asked for."""

    is_own: bool
    """True where it is the asker's from now on."""
    now_ms: int
    """The time by Redis' own clock."""
    lives_ms: int
    """For how long it lasts, unless it is renewed."""
    value: bytes
    """What it says."""


def hold_lease(
    client: Client, key: str, *, token: str, head: bytes, kept_ms: int | None, milliseconds: int
) -> HeldLease:
    """Takes the lease where nobody has it, renews it where its value holds the token, or reads it.

    Args:
        client: the way to Redis.
        key: the lease.
        token: what marks it as the asker's.
        head: its value, a JSON object with at least the token.
        kept_ms: for so long every change has been in Redis; None where that is not so.
        milliseconds: for how long it lasts.
    """
    arguments = [token.encode(), head, b"" if kept_ms is None else kept_ms, milliseconds]
    is_own, now_ms, lives_ms, value = run_script(client, _HOLD_LEASE, [raw(key)], arguments)
    return HeldLease(bool(is_own), int(now_ms), int(lives_ms), value)


def release_lease(client: Client, key: str, token: str) -> bool:
    """Deletes a lease whose value holds the token; False when it does not hold it any more."""
    return bool(run_script(client, _RELEASE_LEASE, [raw(key)], [token.encode()]))
