"""A primary that Sentinels name: found, left when it is lost, and what is wrong reported as such."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from entitlements.cache.tiers import Miss
from entitlements.domain.membership import LeaseStatus
from entitlements.redis.address import RedisAddress
from entitlements.redis.causes import Trouble
from entitlements.redis.connection import UNAVAILABLE, RedisConnection
from entitlements.redis.credentials import Credentials
from entitlements.redis.lease import Lease
from entitlements.redis.notifications import Notifications
from tests.cache.samples import CUSTOMER, entity, metered
from tests.eventually import MOST_SECONDS
from tests.fakes import FakeClock
from tests.redis.parts import KEYS, a_tier, connection_to, put, stopping, taken
from tests.redis_fleet import MASTER, SentinelFleet, until
from tests.redis_server import free_port

PASSWORD = "of-the-sentinels"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelFleet]:
    with SentinelFleet(tmp_path_factory.mktemp("sentinel"), password=PASSWORD) as fleet:
        yield fleet


@pytest.fixture
def address(fleet: SentinelFleet) -> RedisAddress:
    return RedisAddress(
        host="nobody.example",
        sentinels=fleet.addresses,
        sentinel_master=MASTER,
        sentinel_password=PASSWORD,
        db=1,
    )


async def until_written(connection: RedisConnection, key: str, value: str) -> None:
    async with asyncio.timeout(MOST_SECONDS):
        while await connection.run(lambda client: client.set(key, value)) is UNAVAILABLE:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def cause_of(address: RedisAddress) -> tuple[Trouble, str]:
    """Why it does not answer, once that is known."""
    with stopping(connection_to(address)) as connection:
        async with asyncio.timeout(MOST_SECONDS):
            while await connection.run(lambda client: client.ping()) is UNAVAILABLE:
                await asyncio.sleep(0.01)
                if connection.cause is not None and "in time" not in connection.cause.text:
                    return connection.cause.trouble, connection.cause.text
    raise AssertionError("it answers")


async def test_the_primary_is_found_in_the_database_that_was_chosen(
    address: RedisAddress, fleet: SentinelFleet
) -> None:
    with stopping(connection_to(address)) as connection:
        await until_written(connection, "found", "yes")

    primary = fleet.primary
    assert primary.text("found") is None
    primary.command("SWAPDB", 0, 1)
    assert "yes" == primary.text("found")


@pytest.mark.parametrize(
    ("change", "trouble", "named"),
    [
        ({"sentinel_password": "wrong"}, Trouble.PASSWORD_REFUSED, "SIDECAR_REDIS_SENTINEL_USERNAME"),
        ({"sentinel_password": None}, Trouble.PASSWORD_REFUSED, "SIDECAR_REDIS_SENTINEL_USERNAME"),
        ({"sentinel_master": MASTER.lower()}, Trouble.NOT_ANSWERING, "SIDECAR_REDIS_SENTINEL_MASTER"),
        ({"sentinels": (("127.0.0.1", free_port()),)}, Trouble.NOT_ANSWERING, "SIDECAR_REDIS_SENTINELS"),
        ({"credentials": Credentials("nobody", "wrong")}, Trouble.PASSWORD_REFUSED, "REDIS_USERNAME"),
    ],
)
async def test_what_is_wrong_is_reported_as_such(
    address: RedisAddress, change: dict[str, object], trouble: Trouble, named: str
) -> None:
    cause_found = await cause_of(replace(address, **change))  # type: ignore[arg-type]

    assert trouble is cause_found[0]
    assert named in cause_found[1]
    assert PASSWORD not in cause_found[1]


async def test_one_sentinel_of_three_is_enough(address: RedisAddress) -> None:
    dead = tuple(("127.0.0.1", free_port()) for _ in range(2))
    with stopping(connection_to(replace(address, sentinels=(*dead, address.sentinels[2])))) as connection:
        await until_written(connection, "found", "yes")


async def test_a_lost_primary_is_left_for_the_new_one_under_load(
    address: RedisAddress, fleet: SentinelFleet
) -> None:
    """Nothing is restarted: what is written is found again, who led leads, what is published is received."""
    with stopping(connection_to(address)) as connection:
        tier = a_tier(connection)
        lease = Lease(connection, name=KEYS.feed_lease, holder="us", clock=FakeClock())
        notifications = Notifications(connection, pattern="p:*")
        notifications.start()
        await put(tier, CUSTOMER, entity(metered()))
        assert await lease.try_hold() is LeaseStatus.OURS
        lost = fleet.primary
        asking = asyncio.create_task(_ask_for_ever(connection))

        lost.stop()
        new = await asyncio.to_thread(fleet.failed_over, lost)
        await until_written(connection, "p:written", "anew")
        await put(tier, CUSTOMER, entity(metered()))

        assert entity(metered()) == await taken(tier, CUSTOMER)
        assert b"anew" == await connection.run(lambda client: client.get("p:written"))
        assert await lease.try_hold() is LeaseStatus.OURS
        await asyncio.to_thread(until, lambda: bool(new.command("PUBSUB", "NUMPAT")))
        with notifications.listening("p:done") as cause_found:
            new.command("PUBLISH", "p:done", "heard")
            assert b"heard" == await asyncio.wait_for(cause_found, MOST_SECONDS)
        assert not asking.done()
        asking.cancel()
        await asyncio.to_thread(notifications.stop)


async def _ask_for_ever(connection: RedisConnection) -> None:
    """No call raises, whatever Redis does."""
    tier = a_tier(connection)
    while True:
        found = await tier.get(CUSTOMER)
        assert not isinstance(found, Miss) or found in {Miss.ABSENT, Miss.UNAVAILABLE}
        await asyncio.sleep(0.005)
