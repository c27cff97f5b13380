"""One budget for all processes of a prefix: `entitlements/domain/request_budget.py` in one script.

Redis is asked for a few tokens at a time, by its own clock. The libraries that have the algorithm (limits,
throttled-py) ask for each request, all or nothing, and cannot close; redis-cell is a module of the server.
"""

from typing import Final

from entitlements.domain.request_budget import (
    LONGEST_PAUSE_SECONDS,
    REOPENING_COST,
    REOPENING_SECONDS,
    Pace,
    Taken,
)
from entitlements.redis.connection import UNAVAILABLE, Client, RedisConnection
from entitlements.redis.keys import raw
from entitlements.redis.scripts import run_script

_LIFE_MS: Final = 180_000
"""An unused budget is full long before; so it need not stand there."""
_TAKE: Final = f"""
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, pause = tonumber(ARGV[3]), tonumber(ARGV[4])
local spent, closed = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+%.%d+) (%d+%.%d+)$')
spent, closed = tonumber(spent) or 0, tonumber(closed) or 0
if closed > now + {LONGEST_PAUSE_SECONDS * 1000:.0f} then closed = 0 end
spent = math.max(now, math.min(spent, math.max(now, closed) + burst))
if pause > 0 and closed <= now then
  closed = now + pause
  spent = closed + burst
end
local since, cost = now - closed, interval
if since < {REOPENING_SECONDS * 1000:.0f} then
  cost = interval * (1 + {REOPENING_COST - 1} * (1 - since / {REOPENING_SECONDS * 1000:.0f}))
end
local there = math.max(0, math.floor((now + burst - spent) / cost))
local tokens = math.min(wanted, there)
redis.call('SET', KEYS[1], string.format('%.3f %.3f', spent + tokens * cost, closed), 'PX', {_LIFE_MS})
return {{tokens, there - tokens, math.max(0, math.ceil(-since))}}
"""


class SharedBudget:
    """The budget in Redis."""

    def __init__(self, connection: RedisConnection, *, name: str, pace: Pace) -> None:
        """Asks nobody yet.

        Args:
            connection: the way there.
            name: its key.
            pace: its figures, the same in all processes.
        """
        self._connection = connection
        self._name = name
        self._pace = pace

    async def take(self, wanted: int) -> Taken | None:
        """So many tokens, or as many as there are; None: Redis does not answer."""
        return await self._run(wanted, pause_seconds=0)

    async def close(self, pause_seconds: float) -> None:
        """Gives nobody any for so long; a pause that lasts is not made longer."""
        await self._run(0, pause_seconds=pause_seconds)

    async def _run(self, wanted: int, *, pause_seconds: float) -> Taken | None:
        arguments: list[bytes | int] = [
            f"{self._pace.interval_seconds * 1000:.6f}".encode(),
            f"{self._pace.burst_seconds * 1000:.6f}".encode(),
            wanted,
            round(pause_seconds * 1000),
        ]

        def take(client: Client) -> Taken:
            tokens, remaining, closed_ms = run_script(client, _TAKE, [raw(self._name)], arguments)
            return Taken(tokens=tokens, remaining=remaining, closed_seconds=closed_ms / 1000)

        taken = await self._connection.run(take, key=self._name)
        return None if taken is UNAVAILABLE else taken
