"""What it costs a follower that other customers change: `python -m bench.named [a second] [seconds]`."""

import asyncio
import sys
import time
from collections.abc import Sequence

from entitlements.domain.entity import EntityKey
from entitlements.redis.keys import Change, KeySpace
from entitlements.redis.tracking import KeyTracking
from tests.redis.parts import ShiftedClock, a_connection
from tests.redis_server import RedisServer

KEYS = KeySpace(prefix="production")
HELD = frozenset(EntityKey(f"held-{number}") for number in range(10_000))


class Follower:
    """Holds others than those that change."""

    def __init__(self) -> None:
        self.is_tracking = asyncio.Event()

    def wants(self, change: Change) -> bool:
        return change.key in HELD

    def changed(self, changes: Sequence[Change]) -> None:
        raise AssertionError(changes)

    def lease_changed(self) -> None: ...

    def tracking_began(self) -> None:
        self.is_tracking.set()

    def tracking_ended(self) -> None: ...

    def emptied(self) -> None: ...


async def write(redis: RedisServer, *, a_second: int, seconds: int) -> None:
    """Usage of so many customers a second, by another process."""
    code = (
        "import sys,time,redis\n"
        "port,rate,seconds=map(int,sys.argv[1:])\n"
        "client=redis.Redis(port=port)\n"
        "began=time.monotonic()\n"
        "for number in range(rate*seconds):\n"
        "    time.sleep(max(0,began+number/rate-time.monotonic()))\n"
        "    key=f'production:c_{number:036}:f_feature-api-calls'\n"
        "    client.mset({key:'{}',key+'#timestamp':'1'})\n"
    )
    arguments = [str(redis.port), str(a_second), str(seconds)]
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", code, *arguments)
    await writer.wait()


async def main(a_second: int, seconds: int) -> None:
    """Prints the share of a processor."""
    with RedisServer() as redis:
        connection, follower = a_connection(redis.url), Follower()
        tracking = KeyTracking(connection, keys=KEYS, monotonic=ShiftedClock().monotonic)
        tracking.start(follower)
        await follower.is_tracking.wait()
        clock = ShiftedClock()
        began, used = clock.monotonic(), time.process_time()
        await write(redis, a_second=a_second, seconds=seconds)
        took, used = clock.monotonic() - began, time.process_time() - used
        share, rate = used / took, a_second * seconds / took
        sys.stdout.write(f"{rate:.0f} events a second of customers that are not held: {share:.1%} of a CPU\n")
        await asyncio.to_thread(tracking.stop)
        connection.stop()


if __name__ == "__main__":
    from django.conf import settings  # noqa: TID251 - django-redis looks a default up there

    settings.configure()
    asyncio.run(main(*(int(each) for each in (sys.argv[1:] or ("1000", "10")))))
