"""Which processes share this Redis, for people: each says at intervals how it is, by Redis' own clock."""

from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import msgspec

from entitlements.redis.connection import UNAVAILABLE, Client, RedisConnection
from entitlements.redis.keys import raw
from entitlements.redis.scripts import run_script

BEAT_SECONDS: Final = 5.0
GONE_SECONDS: Final = 25.0
"""Whose beats are missing for so long is gone: killed, or its node is."""
MAX_BEAT_BYTES: Final = 4096
"""A longer one is none of ours, and is left out."""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
_BEAT: Final = f"""{_NOW}
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now) .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], {GONE_SECONDS * 1000:.0f})
"""
_LIST: Final = f"""{_NOW}
local held, present = redis.call('HGETALL', KEYS[1]), {{}}
for i = 1, #held, 2 do
  local at, told = string.match(held[i + 1], '^(%d+) (.*)$')
  local age = at and now - at
  if age and age < {GONE_SECONDS * 1000:.0f} then present[#present + 1] = {{held[i], math.floor(age), told}}
  else redis.call('HDEL', KEYS[1], held[i]) end
end
return present
"""


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """How a process is, as it says itself."""

    version: str
    role: str
    up_seconds: float
    entries: int
    """How many customers and resources it holds."""
    problems: Sequence[str]
    """The parts that have one."""


class Heartbeat(NamedTuple):
    """What was last heard of one process."""

    process: str
    age_seconds: float
    condition: Condition


class Heartbeats:
    """Those of all processes of a prefix, in one hash."""

    def __init__(self, connection: RedisConnection, *, name: str, process: str) -> None:
        """Writes nothing yet.

        Args:
            connection: the way to Redis.
            name: the key of the hash.
            process: what people know this one by.
        """
        self._connection = connection
        self._key = name
        self._name = cast("str", raw(name))  # bytes, which redis-py takes and its types do not know
        self.process = process

    async def beat(self, condition: Condition) -> None:
        """Says how this process is; where Redis does not answer, the next beat does."""
        arguments = [self.process.encode(), msgspec.json.encode(condition)]
        await self._connection.run(
            lambda client: run_script(client, _BEAT, [raw(self._key)], arguments), key=self._key
        )

    async def end(self) -> None:
        """Takes this process off the list."""

        def remove(client: Client) -> None:
            client.hdel(self._name, self.process)

        await self._connection.run(remove, key=self._key)

    async def read(self) -> list[Heartbeat] | None:
        """All that are there, by name; None where Redis does not answer."""
        found = await self._connection.run(
            lambda client: run_script(client, _LIST, [raw(self._key)], []), key=self._key
        )
        if found is UNAVAILABLE:
            return None
        return sorted(
            Heartbeat(process.decode(errors="replace"), age_ms / 1000, condition)
            for process, age_ms, told in found
            if (condition := _condition_in(told)) is not None
        )


def _condition_in(told: bytes) -> Condition | None:
    if len(told) > MAX_BEAT_BYTES:
        return None
    try:
        return msgspec.json.decode(told, type=Condition)
    except (msgspec.DecodeError, ValueError):
        return None
