"""What it costs a follower that other customers change: `python -m bench.named [a second] [seconds]`."""

import asyncio
import os
import sys
import time
from collections.abc import Sequence

import django

from entitlements.background import Background
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import Entity, EntityKey
from entitlements.redis.keys import Change, KeySpace
from entitlements.redis.own_writes import OwnWrites
from entitlements.redis.tracking import KeyTracking
from entitlements.service.invalidation import Invalidation
from tests.redis.parts import ShiftedClock, a_connection
from tests.redis_server import RedisServer

KEYS = KeySpace(prefix="production")
HELD = 10_000

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")  # noqa: TID251 - before Django reads it
django.setup()
from tests.service.conftest import House, build_house  # noqa: E402 - its modules need Django


class Follower(Invalidation):
    """Holds others than those that change."""

    def __init__(self, house: House) -> None:
        super().__init__(
            store=house.store,
            own_writes=OwnWrites(house.clock.monotonic),
            changes=house.changes,
            feed_applier=house.feed_applier,
            feed_trust=house.feed_trust,
            background=Background(house.clock.monotonic),
        )
        self.is_tracking = asyncio.Event()

    def changed(self, changes: Sequence[Change]) -> None:
        raise AssertionError(changes)

    def tracking_began(self) -> None:
        super().tracking_began()
        self.is_tracking.set()

    def tracking_ended(self) -> None: ...


async def follower() -> Follower:
    """A process that holds its customers."""
    house = build_house()
    for number in range(HELD):
        await house.store.store(EntityKey(f"held-{number}"), CachedEntity(entity=Entity(), confirmed_at=0))
    return Follower(house)


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
        connection, listener = a_connection(redis.url), await follower()
        tracking = KeyTracking(connection, keys=KEYS, monotonic=ShiftedClock().monotonic)
        tracking.start(listener)
        await listener.is_tracking.wait()
        clock = ShiftedClock()
        began, used = clock.monotonic(), time.process_time()
        await write(redis, a_second=a_second, seconds=seconds)
        took, used = clock.monotonic() - began, time.process_time() - used
        share, rate = used / took, a_second * seconds / took
        sys.stdout.write(f"{rate:.0f} events a second of customers that are not held: {share:.1%} of a CPU\n")
        await asyncio.to_thread(tracking.stop)
        connection.stop()


if __name__ == "__main__":
    asyncio.run(main(*(int(each) for each in (sys.argv[1:] or ("1000", "10")))))
