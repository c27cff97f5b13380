"""One fetch per entity across processes, and progress whoever dies."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from entitlements.cache.tiers import Miss
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.ports import FetchClaim, FetchLockOutcome, Look
from entitlements.redis import fetch_lock
from entitlements.redis.connection import RedisConnection
from entitlements.redis.fetch_lock import FetchLock
from entitlements.redis.notifications import Notifications
from tests.builders import a_cached_entity
from tests.cache.samples import CUSTOMER, RESOURCE
from tests.eventually import MOST_SECONDS, eventually
from tests.harness import CALL_SECONDS
from tests.redis.parts import KEYS, ShiftedClock, a_connection, a_tier, hurried
from tests.redis.test_notifications import subscribed
from tests.redis_server import RedisServer

LOCK = "production:refetchEntityEntitlementsAfterCacheMiss-customer-1"
CHANNEL = "production:refetchEntityEntitlementsAfterCacheMiss:customer-1"

MakeLock = Callable[..., FetchLock]


@pytest.fixture
async def process(own_redis: RedisServer) -> AsyncIterator[MakeLock]:
    """Makes the lock of one more process."""
    listeners: list[Notifications] = []
    connections: list[RedisConnection] = []

    def make(*, hold_seconds: float = 5.0, listens: bool = True) -> FetchLock:
        clock = ShiftedClock()
        connection = a_connection(own_redis.url, clock=clock)
        notifications = Notifications(connection, pattern=KEYS.fetch_channels)
        if listens:
            notifications.start()
        listeners.append(notifications)
        connections.append(connection)
        return FetchLock(
            connection, notifications=notifications, keys=KEYS, clock=clock, hold_seconds=hold_seconds
        )

    yield make
    for listener in listeners:
        listener.stop()
    for connection in connections:
        connection.stop()


@asynccontextmanager
async def open_connection(redis: RedisServer, **credentials: str) -> AsyncIterator[RedisConnection]:
    connection = a_connection(redis.url, clock=ShiftedClock(), **credentials)
    await connection.run(lambda client: client.ping())  # before another's: they share pools by URL
    try:
        yield connection
    finally:
        connection.stop()


async def claimed(redis: RedisServer, count: int) -> None:
    """Returns once so many have asked for the lock."""
    await eventually(lambda: _calls(redis, "cmdstat_set") >= count)


async def looked(redis: RedisServer) -> None:
    """Returns once somebody who waits has looked whether the lock still stands."""
    await eventually(lambda: _calls(redis, "cmdstat_exists") > _calls(redis, "cmdstat_set"))


def _calls(redis: RedisServer, command: str) -> int:
    statistics = redis.command("INFO", "commandstats")
    return int(statistics[command]["calls"]) if command in statistics else 0


async def test_the_first_one_takes_the_contracts_lock(own_redis: RedisServer, process: MakeLock) -> None:
    claim = await process(hold_seconds=600).claim(CUSTOMER, wait_seconds=1)

    assert claim.turn is FetchLockOutcome.ACQUIRED
    assert claim.token.decode() == own_redis.text(LOCK)
    assert 500_000 < own_redis.command("PTTL", LOCK) <= 600_000


async def test_who_comes_when_it_is_fetched_already_is_reported_so(
    own_redis: RedisServer, process: MakeLock
) -> None:
    """It missed the entity a moment before another stored it: it had the lock, and fetched it again."""
    lock = process()
    early = await lock.claim(CUSTOMER, wait_seconds=1)
    await lock.done(early)
    own_redis.command("SET", KEYS.entity(CUSTOMER), "{}")
    late = await process().claim(CUSTOMER, wait_seconds=1)

    assert FetchLockOutcome.ACQUIRED == early.turn
    assert not early.is_there
    assert FetchLockOutcome.ACQUIRED == late.turn
    assert late.is_there


def a_look(connection: RedisConnection) -> Look:
    """Into Redis, as a process looks before it fetches."""
    tier = a_tier(connection, clock=ShiftedClock())

    async def look(claim: FetchClaim) -> CachedEntity | None:
        found = await tier.get(CUSTOMER, claim=claim)
        assert found is not Miss.UNAVAILABLE
        return None if isinstance(found, Miss) else found

    return look


async def test_who_looks_in_vain_has_the_lock_or_waits_for_who_has_it(
    own_redis: RedisServer, process: MakeLock
) -> None:
    """All in the step that looks; what is found takes no lock."""
    async with open_connection(own_redis) as connection:
        look = a_look(connection)
        first, second = process(), process()
        held = await first.claim(CUSTOMER, wait_seconds=1, look=look)
        token = own_redis.text(LOCK)
        await subscribed(own_redis)
        waiting = asyncio.create_task(second.claim(CUSTOMER, wait_seconds=CALL_SECONDS, look=look))
        await claimed(own_redis, 2)
        await first.done(held)
        other = await waiting
        await a_tier(connection, clock=ShiftedClock()).store(CUSTOMER, a_cached_entity())
        late = await second.claim(CUSTOMER, wait_seconds=1, look=look)

    assert FetchLockOutcome.ACQUIRED is held.turn
    assert held.token.decode() == token
    assert FetchLockOutcome.FETCHED_ELSEWHERE is other.turn
    assert late.found is not None
    assert own_redis.text(LOCK) is None


async def test_who_may_not_write_can_look_all_the_same(own_redis: RedisServer, process: MakeLock) -> None:
    own_redis.command("ACL", "SETUSER", "us", "reset", "on", ">pw", "~*", "&*", "+@all", "-set")
    async with (
        open_connection(own_redis, username="us", password="pw") as connection,
        open_connection(own_redis) as writing,
    ):
        missed = await process().claim(CUSTOMER, wait_seconds=1, look=a_look(connection))
        await process().done(missed)
        await a_tier(writing, clock=ShiftedClock()).store(CUSTOMER, a_cached_entity())
        found = await process().claim(CUSTOMER, wait_seconds=1, look=a_look(connection))

    assert missed.found is None
    assert found.found is not None


async def test_the_others_wait_until_it_is_done(
    own_redis: RedisServer, process: MakeLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its message ends that: who looked would find a lock here, and wait on."""
    monkeypatch.setattr(fetch_lock, "LOOK_SECONDS", 2 * CALL_SECONDS)
    holder, other = process(hold_seconds=2 * CALL_SECONDS), process()
    held = await holder.claim(CUSTOMER, wait_seconds=5)
    await subscribed(own_redis)
    waiting = asyncio.create_task(other.claim(CUSTOMER, wait_seconds=CALL_SECONDS))
    await claimed(own_redis, 2)
    await asyncio.sleep(0.1)
    waited = not waiting.done()

    await holder.done(held)
    given_back = own_redis.text(LOCK) is None
    own_redis.command("SET", LOCK, "the next one's")

    assert waited
    assert given_back
    assert FetchClaim(key=CUSTOMER, turn=FetchLockOutcome.FETCHED_ELSEWHERE) == await waiting


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("{}", FetchLockOutcome.FETCHED_ELSEWHERE),
        ('{"error": "timeout"}', FetchLockOutcome.FAILED_ELSEWHERE),
        ('{"error": {"message": "timeout"}}', FetchLockOutcome.FAILED_ELSEWHERE),
        ('{"error": null}', FetchLockOutcome.FETCHED_ELSEWHERE),
        ("junk", FetchLockOutcome.FETCHED_ELSEWHERE),
        ("[]", FetchLockOutcome.FETCHED_ELSEWHERE),
        ("[" * 100_000, FetchLockOutcome.FETCHED_ELSEWHERE),
    ],
    ids=["done", "error", "error object", "no error", "junk", "list", "deep"],
)
async def test_what_another_program_sends_is_understood(
    own_redis: RedisServer, process: MakeLock, message: str, expected: FetchLockOutcome
) -> None:
    own_redis.command("SET", LOCK, "another program's")
    lock = process()
    await subscribed(own_redis)
    waiting = asyncio.create_task(lock.claim(CUSTOMER, wait_seconds=CALL_SECONDS))
    await claimed(own_redis, 2)

    own_redis.command("PUBLISH", CHANNEL, message)

    assert FetchClaim(key=CUSTOMER, turn=expected) == await waiting


@pytest.mark.parametrize(("error", "message"), [(None, b"{}"), ("timeout", b'{"error":"timeout"}')])
async def test_the_others_are_sent_the_contracts_message(
    own_redis: RedisServer, process: MakeLock, error: str | None, message: bytes
) -> None:
    lock = process()
    await subscribed(own_redis)
    claim = await lock.claim(CUSTOMER, wait_seconds=1)

    with lock._notifications.listening(CHANNEL) as announced:
        await lock.done(claim, error=error)

        async with asyncio.timeout(CALL_SECONDS):
            assert message == await announced


async def test_a_lost_message_costs_little(own_redis: RedisServer, process: MakeLock) -> None:
    holder, deaf = process(), process(listens=False)
    held = await holder.claim(CUSTOMER, wait_seconds=5)
    waiting = asyncio.create_task(deaf.claim(CUSTOMER, wait_seconds=CALL_SECONDS))
    await looked(own_redis)

    await holder.done(held)

    assert (await waiting).turn is FetchLockOutcome.FETCHED_ELSEWHERE  # it looked, before its bound


async def test_a_holder_that_died_holds_nobody_up_for_long(own_redis: RedisServer, process: MakeLock) -> None:
    """Its lock runs out by itself, which is noticed."""
    await process(hold_seconds=2 * CALL_SECONDS).claim(CUSTOMER, wait_seconds=1)
    other = process()
    waiting = asyncio.create_task(other.claim(CUSTOMER, wait_seconds=CALL_SECONDS))
    await looked(own_redis)

    own_redis.command("PEXPIRE", LOCK, 1)
    first = await waiting
    second = await other.claim(CUSTOMER, wait_seconds=CALL_SECONDS)

    assert FetchLockOutcome.FETCHED_ELSEWHERE == first.turn
    assert FetchLockOutcome.ACQUIRED == second.turn


async def test_nobody_waits_longer_than_its_bound(own_redis: RedisServer, process: MakeLock) -> None:
    await process(hold_seconds=2 * CALL_SECONDS).claim(CUSTOMER, wait_seconds=1)

    started_at = time.monotonic()
    claim = await process().claim(CUSTOMER, wait_seconds=0.3)

    assert claim == FetchClaim(key=CUSTOMER, turn=FetchLockOutcome.UNCOORDINATED)
    assert time.monotonic() - started_at > 0.25
    assert own_redis.text(LOCK) is not None


async def test_without_redis_everybody_fetches_alone(own_redis: RedisServer, process: MakeLock) -> None:
    lock = process()
    own_redis.stop()

    claim = await lock.claim(CUSTOMER, wait_seconds=5)
    await lock.done(claim)

    assert claim.turn is FetchLockOutcome.UNCOORDINATED


async def test_a_redis_that_dies_while_one_waits_ends_the_wait(
    own_redis: RedisServer, process: MakeLock
) -> None:
    await process(hold_seconds=2 * MOST_SECONDS).claim(CUSTOMER, wait_seconds=1)
    waiting = asyncio.create_task(process().claim(CUSTOMER, wait_seconds=2 * MOST_SECONDS))
    await looked(own_redis)

    own_redis.stop()

    async with asyncio.timeout(MOST_SECONDS):
        assert (await waiting).turn is FetchLockOutcome.UNCOORDINATED


async def test_a_lock_that_another_took_meanwhile_is_left_to_it(
    own_redis: RedisServer, process: MakeLock
) -> None:
    lock = process()
    claim = await lock.claim(CUSTOMER, wait_seconds=1)
    own_redis.command("SET", LOCK, "another's")

    await lock.done(claim)

    assert own_redis.text(LOCK) == "another's"


async def test_a_lock_that_was_taken_without_an_answer_is_given_back(
    own_redis: RedisServer, process: MakeLock
) -> None:
    """Redis took the command and was too slow to say so: the others need not wait until the lock ends."""
    lock = process()
    own_redis.pause()
    with hurried():
        claim = await lock.claim(CUSTOMER, wait_seconds=1)
    own_redis.resume()
    own_redis.command("SET", LOCK, claim.token)

    await lock.done(claim)

    assert claim.turn is FetchLockOutcome.UNCOORDINATED
    assert own_redis.text(LOCK) is None


async def test_a_customer_and_its_resource_do_not_wait_for_each_other(process: MakeLock) -> None:
    lock = process()

    turns = [(await lock.claim(key, wait_seconds=1)).turn for key in (CUSTOMER, RESOURCE)]

    assert [FetchLockOutcome.ACQUIRED, FetchLockOutcome.ACQUIRED] == turns


async def test_of_many_one_fetches(own_redis: RedisServer, process: MakeLock) -> None:
    locks = [process() for _ in range(4)]
    fetches = 0

    async def miss(lock: FetchLock) -> FetchLockOutcome:
        nonlocal fetches
        claim = await lock.claim(CUSTOMER, wait_seconds=CALL_SECONDS)
        if claim.turn is FetchLockOutcome.ACQUIRED:
            fetches += 1
            await claimed(own_redis, len(locks))
            await lock.done(claim)
        return claim.turn

    turns = await asyncio.gather(*(miss(lock) for lock in locks))

    assert fetches == 1
    assert sorted(turn.value for turn in turns) == [
        "acquired",
        "fetched_elsewhere",
        "fetched_elsewhere",
        "fetched_elsewhere",
    ]
